"""A held call's body for a person's eyes: laid out where it can be read, as it came beside that, decoded where it says.

What is laid out is said to be; what was decoded is said to be. Values under names that may hold a credential are hidden
until they are asked for, and with them the body as it came. Every line is made harmless where it is shown. Pure.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from proxy.core.bodies.coding import USUAL_CAPS, decoded
from proxy.core.bodies.media import media_type
from proxy.core.encoding import b64u
from proxy.core.errors import Rejected
from proxy.core.folding import folded_field
from proxy.core.hiding import hidden_words, is_credential, names_secret
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
# Members that name a thing, and those that hold it: {"name": "password", "value": "..."}, as forms and vaults have it.
_NAMING = frozenset({"name", "key", "field", "header", "param", "parameter", "id", "label", "k", "n"})
_HOLDING = frozenset({"value", "values", "val", "v", "content", "contents", "data", "text", "default"})
_BARE = re.compile(r"[\w.\-:@]{1,64}")
_MOST_NESTED = 4
"""JSON within a string of JSON is read so deep; deeper, the string is hidden."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line. `ours`: the desk says it; nothing of the call can look so."""

    text: str
    ours: bool = False


type Line = tuple[Piece, ...]


def plain(line: Line) -> str:
    """A line as text. What the desk says of JSON stands outside its quotes, where no text of the call can stand."""
    return "".join(piece.text for piece in line)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyView:
    """A body in the forms in which it can be shown."""

    size: int | None  # of what would be sent; None: not known
    sha256: str
    media: str  # its Content-Type, as the call says it
    coding: str  # the content coding it comes in; "" for none
    kept: bool = True  # False: too large; only its size and digest are known
    laid_out: tuple[Line, ...] = ()  # JSON, indented: the order and the spelling of values are as they came
    fields: tuple[tuple[str, Piece], ...] = ()  # of a form
    as_is: tuple[Line, ...] = ()  # the text as it came, or once decoded
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


def _laid_out(call: Call, text: str, *, reveal: bool) -> tuple[tuple[Line, ...], tuple[tuple[str, Piece], ...], bool]:
    """JSON in lines, a form in fields, and whether anything there may be a credential; nothing for any other text."""
    kind = _kind(call)
    if kind == "form":
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="backslashreplace", max_num_fields=_MOST_FIELDS)
        except ValueError:
            return (), (), True  # too many to look at each: none is shown unasked
        hidden = [_hides_field(name, value) for name, value in pairs]
        fields = (
            (name, Piece(hidden_words(value), ours=True) if hides and not reveal else Piece(value))
            for (name, value), hides in zip(pairs, hidden, strict=True)
        )
        return (), tuple(fields), any(hidden)
    if len(text) > MAX_LAID_OUT_BYTES:
        return (), (), kind == "json" or _names_a_secret(text)
    if kind != "json" and not text.lstrip(" \t\r\n").startswith(("{", "[")):
        return (), (), _names_a_secret(text)
    try:
        value = _read(text)
        masked = _masked(value)
        written = list(_written(value if reveal else masked))
    except (ValueError, RecursionError):
        return (), (), _names_a_secret(text)
    return tuple(written), (), masked != value


def _names_a_secret(text: str) -> bool:
    """Whether text that is not laid out names something that may be a credential, right before a value, or has one."""
    named = (found[1] for form in (_BEFORE_A_VALUE, _PART_NAME) for found in form.finditer(text))
    return any(map(names_secret, named)) or is_credential(text)


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


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A value that is not shown."""

    words: str


def _masked(value: object, deep: int = 0) -> object:
    """A value of JSON with what may be credentials hidden: by their names, by how they look, and within strings."""
    match value:
        case _Members():
            named = any(folded_field(key) in _NAMING and _is_bare_name(member) for key, member in value)
            return _Members(
                (key, _hidden(member) if _hides(key, member, named=named) else _masked(member, deep))
                for key, member in value
            )
        case list():
            pair = len(value) == 2
            after = [False, *(_is_bare_name(one) and (pair or str(one).startswith("-")) for one in value)]
            return [
                _hidden(member) if follows and isinstance(member, str) else _masked(member, deep)
                for follows, member in zip(after, value, strict=False)
            ]
        case _Literal():
            return value
        case str() if _hides_text(value, deep):
            return _hidden(value)
        case _:
            return value


def _hides(key: str, member: object, *, named: bool) -> bool:
    """Whether a member is hidden by its own name, or (`named`) by what stands beside it."""
    if folded_field(key) in _NAMING and _is_bare_name(member):  # {"key": "password"}: this one only names it
        return False
    return names_secret(key) or (named and folded_field(key) in _HOLDING)


def _is_bare_name(member: object) -> bool:
    """Whether a text is but a name, of something that may be a credential."""
    return isinstance(member, str) and _BARE.fullmatch(member) is not None and names_secret(member)


def _hides_text(text: str, deep: int) -> bool:
    """Whether a text has within it what would be hidden if it stood there by itself: JSON, a form, a header."""
    if _names_a_secret(text) or ("%" in text and _names_a_secret(unquote(text))):
        return True
    if not text.lstrip().startswith(("{", "[", '"')):
        return False
    try:
        value = _read(text)
    except (ValueError, RecursionError):
        return False
    return deep >= _MOST_NESTED or _masked(value, deep + 1) != value


def _hides_field(name: str, value: str) -> bool:
    """Whether a field of a form is hidden."""
    return value != "" and (names_secret(name) or _hides_text(value, 0))


def _read(text: str) -> object:
    return json.loads(
        text, object_pairs_hook=_Members, parse_float=_Literal, parse_int=_Literal, parse_constant=_Literal
    )


def _written(value: object, *, indent: str = "", name: str = "") -> Iterator[Line]:
    """JSON in lines, indented by two."""
    inner = f"{indent}  "
    match value:
        case _Hidden():
            yield Piece(f"{indent}{name}"), Piece(value.words, ours=True)
        case _Members() if value:
            yield (Piece(f"{indent}{name}{{"),)
            for number, (key, member) in enumerate(value):
                lines = list(_written(member, indent=inner, name=f"{_quoted(key)}: "))
                yield from _but_last(lines, number < len(value) - 1)
            yield (Piece(f"{indent}}}"),)
        case list() if value:
            yield (Piece(f"{indent}{name}["),)
            for number, member in enumerate(value):
                yield from _but_last(list(_written(member, indent=inner)), number < len(value) - 1)
            yield (Piece(f"{indent}]"),)
        case _Members():
            yield (Piece(f"{indent}{name}{{}}"),)
        case list():
            yield (Piece(f"{indent}{name}[]"),)
        case _Literal():
            yield (Piece(f"{indent}{name}{value}"),)
        case str():
            yield (Piece(f"{indent}{name}{_quoted(value)}"),)
        case _:
            yield (Piece(f"{indent}{name}{json.dumps(value)}"),)


def _but_last(lines: list[Line], goes_on: bool) -> Iterator[Line]:
    """The lines of one value, with a comma after it unless it is the last."""
    yield from lines[:-1]
    yield (*lines[-1], Piece(",")) if goes_on else lines[-1]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _hidden(value: object) -> _Hidden:
    return _Hidden(hidden_words(value) if isinstance(value, str) else "(hidden)")


def _lines(text: str) -> tuple[tuple[Line, ...], int]:
    lines = text.split("\n")
    shown = (line.removesuffix("\r") for line in lines[:MAX_LINES])
    return tuple(_cut((Piece(line),)) for line in shown), max(0, len(lines) - MAX_LINES)


def _cut(line: Line) -> Line:
    """A line that is not too long to be shown: what is left out of it, the desk says."""
    kept, room = list[Piece](), MAX_LINE_CHARS
    for piece in line:
        kept.append(Piece(piece.text[:room], ours=piece.ours))
        room = max(0, room - len(piece.text))
    over = len(plain(line)) - MAX_LINE_CHARS
    return (*kept, Piece(f" … and {over} more characters", ours=True)) if over > 0 else line


def _dump(data: bytes) -> Iterator[str]:
    """The beginning of some bytes as hexadecimal digits and the ASCII among them."""
    for start in range(0, min(len(data), DUMPED_BYTES), _DUMP_WIDTH):
        part = data[start : start + _DUMP_WIDTH]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        yield f"{start:08x}  {part.hex(' '):<{3 * _DUMP_WIDTH - 1}}  {text}"
    if len(data) > DUMPED_BYTES:
        yield f"… and {len(data) - DUMPED_BYTES} more bytes"
