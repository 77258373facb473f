"""What a form sent: read within bounds, and only with the token of the session it was made for."""

import hmac
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import parse_qsl

from starlette.requests import Request

from proxy.review.desk.sessions import Session
from proxy.review.desk.visits import Refused

MAX_BYTES = 131_072
MAX_FIELDS = 1_000
TOKEN = "form_token"  # noqa: S105 (the name of a field)

_TYPE = "application/x-www-form-urlencoded"


class Form:
    """The fields of a form. One that is missing is empty; of one that came twice the last counts, save in `every`."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """A field's text on one line: what a browser wraps is joined."""
        return " ".join(self._fields.get(name, [""])[-1].split())

    def every(self, name: str) -> tuple[str, ...]:
        return tuple(self._fields.get(name, ()))

    def ticked(self, name: str) -> bool:
        return name in self._fields

    def minutes(self, name: str) -> timedelta | None:
        """A number of minutes; None where nothing was said."""
        number = self.number(name)
        return None if number is None else timedelta(minutes=number)

    def number(self, name: str) -> int | None:
        """A whole number; None where nothing was said.

        Raises:
            Refused: it is none.
        """
        text = self.text(name)
        if not text:
            return None
        if not text.isascii() or not text.isdecimal() or len(text) > 6:
            raise Refused(422, f"{name} must be a whole number, got {ascii(text)[:40]}.")
        return int(text)


async def read_form(request: Request, session: Session | None) -> Form:
    """The form of a request. `session` None: somebody signs in, and has no token yet.

    Raises:
        Refused: too large, no form, or not from a page of this session.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise Refused(415, "Send that as a form.")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BYTES:
            raise Refused(413, f"A form may have {MAX_BYTES} bytes.")
    try:
        pairs = parse_qsl(data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:  # not ASCII, not UTF-8 once unescaped, or too many fields
        raise Refused(422, "The form cannot be read.") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    form = Form(fields)
    if session is not None and not hmac.compare_digest(form.text(TOKEN).encode(), session.form_token.encode()):
        raise Refused(403, "The form is of another session: open the page again, and send it from there.")
    return form
