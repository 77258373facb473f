"""Header lines and structured fields (RFC 9651), read as strictly as something signed must be."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import http_sf

from proxy.core.encoding import unb64
from proxy.core.errors import Code, Rejected

type Lines = Mapping[str, Sequence[bytes]]
"""Lower-case field name -> the value of each line, in order, without the white space around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of a dictionary field.

    `value` is a `str` for a string, an `int`, `bool` or `bytes`, and a tuple of `str` for an inner list of plain
    strings. For everything else, tokens too, it is None: nothing of ours is written so.
    """

    value: str | int | bool | bytes | tuple[str, ...] | None
    params: Mapping[str, object]


def lines(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[bytes]]:
    """The header lines by name. Nothing is checked or joined here."""
    found: dict[str, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.strip(b" \t"))
    return found


def one_line(found: Lines, name: str, *, code: Code) -> str | None:
    """The value of a field that may stand on one line only; None when it is absent.

    Raises:
        Rejected(code): several lines, or characters that are not printable ASCII or tab: such a value could pretend
            to be several lines of a signature base (RFC 9421 §7.5.3).
    """
    values = found.get(name, ())
    if not values:
        return None
    if len(values) > 1:
        raise Rejected(code, f"{name} must stand on one line, got {len(values)}", field=name)
    text = values[0].decode("latin-1")
    if not text.isascii() or not text.replace("\t", " ").isprintable():
        raise Rejected(code, f"{name} must be printable ASCII", field=name)
    return text


def dictionary(text: str, *, code: Code, field: str) -> dict[str, Member]:
    """The members of a dictionary field, in order (RFC 9651 §3.2).

    Raises:
        Rejected(code): not a dictionary, or a key or parameter twice. The RFC lets the last one win; we do not guess.
    """

    def refuse(key: str, _context: str) -> None:
        raise Rejected(code, f"{field} has {key[:64]!r} twice", field=field)

    try:
        parsed = http_sf.parse(text.encode("ascii"), tltype="dictionary", on_duplicate_key=refuse)
    except ValueError as fault:
        raise Rejected(
            code, f"{field} must be a structured-field dictionary: {str(fault)[:120]}", field=field
        ) from None
    members = parsed if isinstance(parsed, dict) else {}
    return {key: _member(member) for key, member in members.items()}


def _member(parsed: object) -> Member:
    value, params = parsed if isinstance(parsed, tuple) else (parsed, {})
    if isinstance(value, list):
        plain = [item for item, item_params in value if isinstance(item, str) and not item_params]
        return Member(value=tuple(plain) if len(plain) == len(value) else None, params=params)
    return Member(value=value if isinstance(value, str | int | bytes) else None, params=params)


# --- signature fields (RFC 9421 §4) ----------------------------------------------------------------------------------

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")  # every string parameter of the profile, so that none needs escaping
_COMPONENT = re.compile(r"@?[a-z-]+")
# The common case, one signature and no spare spaces, without the general parser.
_SOLE_INPUT = re.compile(r'([a-z]+)=\("([@a-z-]+(?:" "[@a-z-]+)*)"\)((?:;[a-z]+=(?:[0-9]{1,15}|"[A-Za-z0-9_-]+"))+)')
_SOLE_PARAMETER = re.compile(r';([a-z]+)=(?:([0-9]+)|"([A-Za-z0-9_-]+)")')
_SOLE_SIGNATURE = re.compile(r"([a-z]+)=:([A-Za-z0-9+/]{86}==):")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureInput:
    """One member of Signature-Input: covered components and parameters, both in the signer's order (RFC 9421 §2.3)."""

    components: tuple[str, ...]
    parameters: Mapping[str, int | str]

    def __str__(self) -> str:
        """The one serialisation, as it stands in the field and in the signature base."""
        covered = " ".join(f'"{name}"' for name in self.components)
        parameters = (
            f";{name}={value}" if isinstance(value, int) else f';{name}="{value}"'
            for name, value in self.parameters.items()
        )
        return f"({covered}){''.join(parameters)}"


def is_sole(text: str, label: str) -> bool:
    """Whether a Signature or Signature-Input is plainly of this label and no other, written as everybody writes it."""
    sole = _SOLE_SIGNATURE.fullmatch(text) or _SOLE_INPUT.fullmatch(text)
    return sole is not None and sole[1] == label


def read_signature_input(text: str, *, label: str, tag: str) -> SignatureInput:
    """The member of Signature-Input that bears our label and our tag. Members with other labels and tags may be there.

    Raises:
        Rejected(PROOF_MALFORMED): unreadable; no member, or several, with our label or tag; components with
            parameters; or parameters other than integers and plain strings.
    """
    sole = _SOLE_INPUT.fullmatch(text)
    if sole is not None and sole[1] == label:
        pairs = [(name, int(number) if number else plain) for name, number, plain in _SOLE_PARAMETER.findall(sole[3])]
        parameters = dict(pairs)
        if len(parameters) == len(pairs) and parameters.get("tag") == tag:
            return SignatureInput(components=tuple(sole[2].split('" "')), parameters=parameters)
    members = dictionary(text, code=Code.PROOF_MALFORMED, field="signature-input")
    ours = [name for name, member in members.items() if name == label or member.params.get("tag") == tag]
    if ours != [label] or members[label].params.get("tag") != tag:
        raise _bad("signature-input", f"exactly one signature must bear the label {label} and the tag {tag}")
    components = members[label].value
    if not isinstance(components, tuple) or not all(_COMPONENT.fullmatch(name) for name in components):
        raise _bad("signature-input", "the covered components must be plain names without parameters")
    return SignatureInput(components=components, parameters=_plain_parameters(members[label].params))


def _plain_parameters(params: Mapping[str, object]) -> dict[str, int | str]:
    plain: dict[str, int | str] = {}
    for name, value in params.items():
        if type(value) is int or (type(value) is str and _PLAIN.fullmatch(value)):
            plain[name] = value
        else:
            raise _bad("signature-input", f"parameter {name[:64]} must be an integer or a string of A-Z a-z 0-9 - _")
    return plain


def read_signature(text: str, *, label: str) -> bytes:
    """The 64 bytes of the signature with our label. Signatures with other labels may stand beside it.

    Raises:
        Rejected(PROOF_MALFORMED): unreadable, none of ours, or not 64 bytes in canonical base64.
    """
    field = "signature"
    sole = _SOLE_SIGNATURE.fullmatch(text)
    if sole is not None and sole[1] == label:
        return unb64(sole[2], code=Code.PROOF_MALFORMED, field=field)
    member = dictionary(text, code=Code.PROOF_MALFORMED, field=field).get(label)
    value = None if member is None or member.params else member.value
    if not isinstance(value, bytes) or len(value) != 64:
        raise _bad(field, f"the member {label} must be 64 bytes, as in {label}=:<base64>:")
    if f"{label}=:{base64.b64encode(value).decode('ascii')}:" not in text:
        raise _bad(field, f"the member {label} must be canonical base64")
    return value


def _bad(field: str, detail: str) -> Rejected:
    return Rejected(Code.PROOF_MALFORMED, f"{field}: {detail}", field=field)
