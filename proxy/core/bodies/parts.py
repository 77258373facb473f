"""Form rules on the fields and files of a form: only listed ones, none missing, and once each unless repeated."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from proxy.core.bodies.media import check_charset
from proxy.core.bodies.multipart import FormPart
from proxy.core.bodies.rules import FileRule, FormBody, FormField, MultipartBody
from proxy.core.errors import Code, Rejected
from proxy.core.folding import Bases, same_parameter
from proxy.core.model import Mismatch
from proxy.core.shown import shown, some_of

_METHOD = "_method"
"""By which a form asks Rails, Laravel, Symfony and others for another method than the request's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedForm:
    """A form rule ready to compare."""

    fields: Mapping[str, FormField]
    files: Mapping[str, FileRule]
    listed: frozenset[str]
    others: bool
    repeated: frozenset[str]
    required: tuple[str, ...]

    def faults(self, parts: Iterable[FormPart], bases: Bases | None = None) -> Iterator[Mismatch]:
        """What in a form the rule does not permit. Values are told only where a rule constrains them.

        A file is a part with a file name. Its media type is what the part itself says. `bases` are the call's, where
        several rules are asked about it.

        Raises:
            Rejected(BODY_MALFORMED): a name that some reader takes for a listed one, and that is not it; `_method`,
                unless it is listed; or the text of a constrained field is not in UTF-8.
        """
        given = tuple(parts)
        known = Bases() if bases is None else bases
        for name in {part.name for part in given} - self.listed:
            if _METHOD in known[name] - self.listed:
                detail = f"the form must not have a field {_METHOD}: some servers take it for the request's method"
                raise Rejected(Code.BODY_MALFORMED, detail, field="body")
            if any(known[name] & known[listed] and same_parameter(name, listed) for listed in self.listed):
                detail = f"the form must spell the fields {some_of(self.listed)} so: in the same letters, once each"
                raise Rejected(Code.BODY_MALFORMED, detail, field="body")
        seen: set[str] = set()
        for part in given:
            name = part.name
            if name in seen and name in self.listed - self.repeated:
                yield _fault(name, "at most once", "more than once")
            elif name in self.files:
                yield from _file_faults(self.files[name], part)
            elif name in self.fields:
                yield from _field_faults(self.fields[name], part)
            elif not self.others:
                yield Mismatch(field="body", expected=some_of(self.listed) or "no field", got=f"{shown(name)}=")
            seen.add(name)
        for name in self.required:
            if name not in seen:
                yield _fault(name, "present", "absent")


def prepare_form(rule: FormBody | MultipartBody) -> PreparedForm:
    """Make a form rule ready to compare.

    Raises:
        Rejected(CONFIG_INVALID): a name is listed twice.
    """
    files = rule.files if isinstance(rule, MultipartBody) else ()
    listed: tuple[FormField | FileRule, ...] = (*rule.fields, *files)
    names = [item.name for item in listed]
    for name in names:
        if names.count(name) > 1:
            raise Rejected(Code.CONFIG_INVALID, f"{shown(name)} is listed twice; keep one")
    return PreparedForm(
        fields={item.name: item for item in rule.fields},
        files={item.name: item for item in files},
        listed=frozenset(names),
        others=rule.others,
        repeated=frozenset(item.name for item in listed if item.repeated),
        required=tuple(sorted(item.name for item in listed if item.required)),
    )


def form_part(name: str, value: str) -> FormPart:
    """A field of a URL-encoded form as a part of a multipart one."""
    return FormPart(name=name, filename=None, media=None, data=value.encode(), headers=())


def _field_faults(rule: FormField, part: FormPart) -> Iterator[Mismatch]:
    if part.filename is not None:
        yield _fault(rule.name, "a field", "a file")
    elif rule.values is not None:
        check_charset(part.media, part.data)
        if part.media is not None and part.media.type != "text/plain":
            yield _fault(rule.name, "text/plain", shown(part.media.type))
        elif part.data not in {value.encode() for value in rule.values}:  # bytes that are no UTF-8 equal no value
            got = shown(part.data.decode(errors="replace"))
            yield _fault(rule.name, some_of(rule.values) or "no value", got)


def _file_faults(rule: FileRule, part: FormPart) -> Iterator[Mismatch]:
    if part.filename is None:
        yield _fault(rule.name, "a file", "a field")
    media = "no media type" if part.media is None else part.media.type
    if rule.media_types is not None and media not in rule.media_types:
        yield _fault(rule.name, some_of(rule.media_types) or "no file", shown(media))
    if rule.max_bytes is not None and len(part.data) > rule.max_bytes:
        yield _fault(rule.name, f"at most {rule.max_bytes} bytes", f"{len(part.data)} bytes")


def _fault(name: str, expected: str, got: str) -> Mismatch:
    return Mismatch(field=f"body.{shown(name)}", expected=expected, got=got)
