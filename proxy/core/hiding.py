"""What of a call's address and of its values nobody is shown unasked: credentials known by their name or their shape.

A name that says so hides its value (`proxy.core.digest.is_sensitive`, and a few more). In a path nothing is named, so
there the shape decides: a bot's token, what follows `/services/T…/B…/`, a long text without words, the prefixes that
issuers give their keys, userinfo in an address within the address. It is for eyes and logs alone: what is signed, sent
and compared is the call as it is, and whatever is hidden says how long it was. What is shown after `reveal` is whole.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import unquote

from proxy.core.digest import is_sensitive
from proxy.core.folding import folded_field
from proxy.core.model import Call, Decision, Mismatch
from proxy.core.shown import shown

_MORE_NAMES = frozenset({"sig", "pwd", "pass", "otp", "pin", "sid", "assertion", "bearer"})
_CREDENTIAL = re.compile(
    r"""
    (?<![A-Za-z0-9])(?:
      eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}                # a JWT (RFC 7519 §3)
    | (?:sk|pk|rk|whsec)[-_][A-Za-z0-9_-]{12,}
    | (?:gh[pousr]_|github_pat_|glpat-|npm_|hf_|dop_v1_|shpat_|xox[a-z]-|ya29\.|AIza)[A-Za-z0-9_.-]{10,}
    | (?:AKIA|ASIA)[A-Z0-9]{12,}
    | (?:Bearer|Basic)[ ]+[A-Za-z0-9+/=._~-]{6,}
    | bot[0-9]{3,20}:[^\s/]+
    )
    | -----BEGIN[ ][A-Z ]{0,20}PRIVATE[ ]KEY
    | //[^/\s?\#@"'<>:]{0,200}:[^/\s?\#@"'<>]{1,200}@         # userinfo in an address (RFC 3986 §3.2.1)
    """,
    re.VERBOSE,
)
_NAMED = re.compile(r"(?:^|[?&;])([A-Za-z0-9_.\-\[\]]{1,64}+)=[^&;]")
_SLACK = re.compile(r"T[A-Z0-9]+/B[A-Z0-9]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?=[0-9]*[A-Fa-f])(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{20,}")
_RUN = re.compile(r"[A-Za-z0-9]+")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_WHICH_ONE = re.compile(r"(?!v[0-9])(?=.*[A-Za-z])(?=.*[0-9])[^/]{6,}")
_LONG = 20
"""A part of a path that is shorter is guessed, not kept secret."""
_SHORT = 4
_SIMPLE = 14
"""No shape of a credential is shorter and all letters, or all digits."""
_UNREADABLE = 1_000
"""Nobody reads a part of a path that is longer, and it costs nothing to look at."""
_OURS = frozenset({"absent", "present", "more than once", "encoded twice", "several"})
"""What a mismatch says of itself, instead of a value."""


def hidden_words(text: str) -> str:
    """What stands in place of a text that is hidden. No canonical URL has a space in it, so none can imitate this."""
    return f"(hidden, {len(text)} characters)"


def names_secret(name: str) -> bool:
    """Whether a value under this name is shown only to whoever asks for it."""
    return is_sensitive(name) or folded_field(name) in _MORE_NAMES


def is_credential(text: str) -> bool:
    """Whether a value has the shape of a credential in it, whatever its name: for values that are short texts."""
    return _CREDENTIAL.search(text) is not None


def hides(name: str, value: str) -> bool:
    """Whether a parameter's value is hidden: by its name, by its shape, or by names that stand in it."""
    return value != "" and (names_secret(name) or is_credential(value) or _names_one(value))


def hidden_parts(segments: Sequence[str]) -> tuple[bool, ...]:
    """Which parts of a path may be credentials. `segments` are percent-encoded, as in `Call.segments`."""
    return tuple(_is_secret(part, segments[max(0, place - 3) : place]) for place, part in enumerate(segments))


def masked_path(path: str, hide: Callable[[str], str] = hidden_words) -> str:
    """The path, or a path template, with `hide` of each part that may be a credential in its place."""
    parts = path.split("/")
    hidden = hidden_parts(parts)
    return "/".join(hide(part) if secret else part for part, secret in zip(parts, hidden, strict=True))


def masked_url(call: Call, keyed_hash: Callable[[str], str]) -> str:
    """The URL for eyes and logs, not for sending: parts of the path as `hidden_words`, values of the query that may be
    credentials as `keyed:` and their keyed hash.
    """
    path = f"{call.origin}{masked_path(call.path)}"
    if not call.has_query:
        return path
    pairs = (part.partition("=") for part in call.query.split("&"))
    query = (
        name + mark + (f"keyed:{keyed_hash(value)}" if hides(name, unquote(value)) else value)
        for name, mark, value in pairs
    )
    return f"{path}?{'&'.join(query)}"


def masked_decision(decision: Decision, call: Call) -> Decision:
    """The decision for eyes and logs: what was asked, where it did not fit, without what may be a credential."""
    if not decision.failed and not decision.nearest:
        return decision
    paths = shown(call.path), shown(masked_path(call.path))
    near = tuple(replace(each, failed=_masked(each.failed, paths)) for each in decision.nearest)
    return replace(decision, failed=_masked(decision.failed, paths), nearest=near)


def _masked(failed: tuple[Mismatch, ...], paths: tuple[str, str]) -> tuple[Mismatch, ...]:
    """What failed, masked. `paths`: the call's path as mismatches tell it, and as it is to be told."""
    return tuple(replace(item, got=_masked_got(item, paths)) for item in failed)


def _masked_got(item: Mismatch, paths: tuple[str, str]) -> str:
    if item.field in ("path", "action"):
        return item.got.replace(*paths)
    return hidden_words(item.got) if item.got not in _OURS and _hides_mismatch(item.field, item.got) else item.got


def _hides_mismatch(field: str, got: str) -> bool:
    """Whether what was got may be a credential. A field ends with its name: `query.token`, `constraints.params.key`."""
    kind, _, name = field.partition(".")
    if kind in ("query", "body", "constraints") and any(map(names_secret, re.split(r"[./\[\]]", name))):
        return got != ""
    return is_credential(got) or (kind == "constraints" and _is_secret(got, ()))


def _is_secret(part: str, before: Sequence[str]) -> bool:
    if len(part) < _SHORT or " " in part:  # with a space it is what was hidden already
        return False
    if len(part) > _UNREADABLE:
        return True
    text = unquote(part)
    if len(before) >= 3 and before[-3] == "services" and _SLACK.fullmatch("/".join(before[-2:])):
        return True
    if len(part) < _SIMPLE and part.isascii() and (part.isalpha() or part.isdecimal()):
        return False  # none of the rules below can say otherwise: most parts of most paths, of every call
    if is_credential(text) or _names_one(text) or (not _UUID.fullmatch(text) and _is_random(text)):
        return True
    named = bool(before) and names_secret(unquote(before[-1]))
    return named and (_WHICH_ONE.fullmatch(text) or _UUID.fullmatch(text)) is not None


def _names_one(text: str) -> bool:
    """Whether a value under a name that says so stands in it, as in a query or a matrix parameter."""
    return any(names_secret(found[1]) for found in _NAMED.finditer(text))


def _is_random(text: str) -> bool:
    """Whether a long text is no words and numbers: within its runs of letters and digits it changes at every turn."""
    if len(text) < _LONG:
        return False
    turns = sum(len(_WORD.findall(run)) - 1 for run in _RUN.findall(text))
    return turns * 4 >= len(text) or _HEX.search(text) is not None
