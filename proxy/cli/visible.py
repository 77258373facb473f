"""Text and JSON for a terminal and for programs behind it; what makes text harmless is the core's (`core.visible`)."""

import json

from proxy.core.encoding import Json
from proxy.core.visible import visible as visible
from proxy.core.visible import visible_lines as visible_lines


def ascii_json(value: Json, *, indent: int | None = 2) -> str:
    """`value` as JSON in printable ASCII: every other character is an escape."""
    return json.dumps(value, ensure_ascii=True, indent=indent, allow_nan=False).replace("\x7f", "\\u007f")
