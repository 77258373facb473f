"""A held call's body for a person's eyes: laid out where it can be read, as it came beside that, decoded where it says.

What is laid out is said to be; what was decoded is said to be. Values under names that may hold a credential are hidden
until they are asked for, and with them the body as it came. Every line is made harmless where it is shown. Pure.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from proxy.core.bodies.coding import USUAL_CAPS, decoded
from proxy.core.bodies.media import media_type
from proxy.core.digest import is_sensitive
from proxy.core.encoding import b64u
from proxy.core.errors import Rejected
from proxy.core.model import Call, Unread

MAX_LINES = 400
MAX_LINE_CHARS = 2_000
MAX_LAID_OUT_BYTES = 262_144
DUMPED_BYTES = 512
_DUMP_WIDTH = 16
_MOST_FIELDS = 200
# Names as they stand before a value in text that is not laid out: JSON that is broken or comes in lines, XML, YAML,
# settings, and the parts of a multipart form. Bounded and possessive: a long body is looked through in one pass.
_BEFORE_A_VALUE = re.compile(r"""(?<![\w.\-])([\w.\-]{1,64}+)\\?["']?[ \t]{0,4}[:=>]""")
_PART_NAME = re.compile(r"""name="([^"\r\n]{1,64}+)\"""")


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyView:
    """A body in the forms in which it can be shown."""

    size: int | None  # of what would be sent; None: not known
    sha256: str
    media: str  # its Content-Type, as the call says it
    coding: str  # the content coding it comes in; "" for none
    kept: bool = True  # False: too large; only its size and digest are known
    laid_out: tuple[str, ...] = ()  # JSON, indented: the order and the spelling of values are as they came
    fields: tuple[tuple[str, str], ...] = ()  # of a form
    as_is: tuple[str, ...] = ()  # the text as it came, or once decoded
    dump: tuple[str, ...] = ()  # bytes that are no text: their beginning
    hidden: bool = False  # some values are hidden, and so is what would show them
    remarks: tuple[str, ...] = ()  # what was left out or could not be done


def body_view(call: Call, *, reveal: bool) -> BodyView:
    """The body of a call. `reveal`: also what may be a credential."""
    digest = "unknown" if call.body_sha256 is None else b64u(call.body_sha256)
    media = next((value for name, value in call.headers if name.lower() == "content-type"), "")
    codings = [value.strip().lower() for name, value in call.headers if name.lower() == "content-encoding"]
    coding = "" if codings in ([], ["identity"]) else ", ".join(codings)
    if isinstance(call.body, Unread):
        return BodyView(size=call.body_bytes, sha256=digest, media=media, coding=coding, kept=False)
    remarks: list[str] = []
    data = call.body
    if coding:
        try:
            data = decoded(call.headers, call.body, USUAL_CAPS)
        except Rejected as fault:
            remarks.append(f"It could not be decoded ({fault.detail}): below are its bytes as they came.")
            coding = ""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        remarks.append("It is no text.")
        hidden = not reveal and _names_a_secret(data[:DUMPED_BYTES].decode("latin-1"))
        if hidden:
            remarks.append("Something in it may be a credential: its bytes are shown when you ask for them.")
        return BodyView(
            size=len(call.body),
            sha256=digest,
            media=media,
            coding=coding,
            dump=() if hidden else tuple(_dump(data)),
            hidden=hidden,
            remarks=tuple(remarks),
        )
    laid_out, fields, hides = _laid_out(call, text, reveal=reveal)
    if len(laid_out) > MAX_LINES:
        # Also where the text as it came is hidden: else what stands last would be released unseen, and unsaid.
        remarks.append(f"{len(laid_out) - MAX_LINES} more lines are not laid out here: save the body to read them.")
    hidden = hides and not reveal
    if hidden and not laid_out and not fields:
        remarks.append("Something in it may be a credential: its text is shown when you ask for it.")
    as_is, more = ((), 0) if hidden else _lines(text)
    if more:
        remarks.append(f"{more} more lines are not shown here: save the body to read them.")
    return BodyView(
        size=len(call.body),
        sha256=digest,
        media=media,
        coding=coding,
        laid_out=tuple(map(_cut, laid_out[:MAX_LINES])),
        fields=fields,
        as_is=as_is,
        hidden=hidden,
        remarks=tuple(remarks),
    )


def _laid_out(call: Call, text: str, *, reveal: bool) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], bool]:
    """JSON in lines, a form in fields, and whether anything there may be a credential; nothing for any other text."""
    kind = _kind(call)
    if kind == "form":
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="backslashreplace", max_num_fields=_MOST_FIELDS)
        except ValueError:
            return (), (), True  # too many to look at each: none is shown unasked
        hides = any(is_sensitive(name) for name, _ in pairs)
        return (), tuple((name, value if reveal else _masked(name, value)) for name, value in pairs), hides
    if len(text) > MAX_LAID_OUT_BYTES:
        return (), (), kind == "json" or _names_a_secret(text)
    if kind != "json" and not text.lstrip(" \t\r\n").startswith(("{", "[")):
        return (), (), _names_a_secret(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_Members, parse_float=_Literal, parse_int=_Literal, parse_constant=_Literal
        )
        written = list(_written(value, reveal=reveal))
    except (ValueError, RecursionError):
        return (), (), _names_a_secret(text)
    return tuple(written), (), _has_secret(value)


def _names_a_secret(text: str) -> bool:
    """Whether text that is not laid out names something that may be a credential, right before a value."""
    return any(is_sensitive(found[1]) for form in (_BEFORE_A_VALUE, _PART_NAME) for found in form.finditer(text))


def _kind(call: Call) -> str:
    try:
        media = media_type(call.headers)
    except Rejected:
        return ""
    if media is None:
        return ""
    if media.type == "application/x-www-form-urlencoded":
        return "form"
    return "json" if media.type == "application/json" or media.type.endswith("+json") else ""


class _Literal(str):
    """A number as it came: 1.10 stays 1.10."""

    __slots__ = ()


class _Members(list[tuple[str, object]]):
    """An object's members as they came, also one that came twice."""


def _written(value: object, *, reveal: bool, indent: str = "", name: str = "") -> Iterator[str]:
    """JSON in lines, indented by two."""
    inner = f"{indent}  "
    match value:
        case _Members() if value:
            yield f"{indent}{name}{{"
            for number, (key, member) in enumerate(value):
                shown = member if reveal or not is_sensitive(key) else _Literal(_hidden(member))
                lines = list(_written(shown, reveal=reveal, indent=inner, name=f"{_quoted(key)}: "))
                yield from lines[:-1]
                yield lines[-1] + ("," if number < len(value) - 1 else "")
            yield f"{indent}}}"
        case list() if value:
            yield f"{indent}{name}["
            for number, member in enumerate(value):
                lines = list(_written(member, reveal=reveal, indent=inner))
                yield from lines[:-1]
                yield lines[-1] + ("," if number < len(value) - 1 else "")
            yield f"{indent}]"
        case _Members():
            yield f"{indent}{name}{{}}"
        case list():
            yield f"{indent}{name}[]"
        case _Literal():
            yield f"{indent}{name}{value}"
        case str():
            yield f"{indent}{name}{_quoted(value)}"
        case _:
            yield f"{indent}{name}{json.dumps(value)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _has_secret(value: object) -> bool:
    if isinstance(value, _Members):
        return any(is_sensitive(key) or _has_secret(member) for key, member in value)
    return isinstance(value, list) and any(_has_secret(member) for member in value)


def _hidden(value: object) -> str:
    return f"(hidden, {len(value)} characters)" if isinstance(value, str) else "(hidden)"


def _masked(name: str, value: str) -> str:
    return _hidden(value) if value and is_sensitive(name) else value


def _lines(text: str) -> tuple[tuple[str, ...], int]:
    lines = text.split("\n")
    shown = (line.removesuffix("\r") for line in lines[:MAX_LINES])
    return tuple(_cut(line) for line in shown), max(0, len(lines) - MAX_LINES)


def _cut(line: str) -> str:
    if len(line) <= MAX_LINE_CHARS:
        return line
    return f"{line[:MAX_LINE_CHARS]} … and {len(line) - MAX_LINE_CHARS} more characters"


def _dump(data: bytes) -> Iterator[str]:
    """The beginning of some bytes as hexadecimal digits and the ASCII among them."""
    for start in range(0, min(len(data), DUMPED_BYTES), _DUMP_WIDTH):
        part = data[start : start + _DUMP_WIDTH]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        yield f"{start:08x}  {part.hex(' '):<{3 * _DUMP_WIDTH - 1}}  {text}"
    if len(data) > DUMPED_BYTES:
        yield f"… and {len(data) - DUMPED_BYTES} more bytes"
