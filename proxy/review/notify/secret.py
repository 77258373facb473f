"""What messages are signed with (Standard Webhooks, symmetric): 24 to 64 random bytes, shared with one receiver."""

import base64
import binascii

from proxy.core.errors import Code, Rejected

PREFIX = "whsec_"
_LEAST, _MOST = 24, 64


def read_signing_secret(text: str) -> bytes:
    """The bytes of `whsec_…`.

    Raises:
        Rejected(CONFIG_INVALID): it is none; nothing of it is repeated. (The library would take any text, and sign with
            what is left of it.)
    """
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not _LEAST <= len(key) <= _MOST:
        detail = f"a webhook's secret must be {PREFIX} and {_LEAST} to {_MOST} bytes in base64"
        raise Rejected(Code.CONFIG_INVALID, f"{detail}; make one with: intent-proxy desk webhooks secret")
    return key


def new_signing_secret(random: bytes) -> str:
    """A secret of these 32 random bytes."""
    return f"{PREFIX}{base64.b64encode(random).decode('ascii')}"
