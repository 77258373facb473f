"""The head of an HTTP/1 message as bytes, before anything parses it: bounded, strict, and each byte looked at once.

What comes in single bytes costs no more than what comes at once, so that nobody can buy our time with small packets.
"""

import re

HEAD_BYTES = 65_536
HEAD_LINES = 200

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""What of an origin's head ends here (RFC 9110 §7.6.1, §11.7; RFC 9113 §8.2.2)."""

_NO_CONTROL = bytes(byte for byte in range(256) if byte == 0x09 or (byte >= 0x20 and byte != 0x7F))


def not_passed_on(status: int) -> frozenset[bytes]:
    """What of the head of an origin's response with this status ends here."""
    # RFC 9110 §8.6: of a 204 some readers would wait for the body that its length promises.
    return HOP_BY_HOP | {b"content-length"} if status == 204 else HOP_BY_HOP


class HeadFault(ValueError):
    """A head that breaks the rules of the wire. The text quotes none of it."""

    def __init__(self, detail: str, *, too_large: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.too_large = too_large


class Head:
    """Collects one head after the other; `first` is what a first line must be, `form` the same in words."""

    def __init__(self, first: re.Pattern[bytes], form: str, *, empty_lines: int = 0) -> None:
        self._first, self._form, self._empty_lines = first, form, empty_lines
        self._data = bytearray()
        self._start_anew()

    def _start_anew(self) -> None:
        self._line_at = self._looked = self._lines = self._skipped = 0

    @property
    def begun(self) -> bool:
        """Whether anything came, be it only an empty line."""
        return bool(self._data) or self._skipped > 0

    def add(self, data: bytes | bytearray) -> bool:
        """Take more bytes; whether the head is whole. Then `take` it before more is added.

        Raises:
            HeadFault: it is too large, or not as RFC 9112 §2 to §5 writes a head: lines end in CR LF, hold no control
                character but the tab, and are not folded. Field names are left to the parser.
        """
        self._data += data
        while (end := self._data.find(b"\r\n", max(self._line_at, self._looked - 1))) >= 0:
            self._look(end)
            if end > self._line_at:
                self._check_line(end)
            elif self._lines:
                return True
            else:
                self._skip_empty_line()
        self._look(len(self._data) - self._data.endswith(b"\r"))
        return False

    def take(self) -> tuple[bytes, bytes]:
        """The whole head with its empty line, and what came after it."""
        end = self._line_at + 2
        head, rest = bytes(self._data[:end]), bytes(self._data[end:])
        self._data.clear()
        self._start_anew()
        return head, rest

    def _look(self, end: int) -> None:
        if end > HEAD_BYTES:
            raise HeadFault(f"the head must be at most {HEAD_BYTES} bytes", too_large=True)
        if self._data[self._looked : end].translate(None, _NO_CONTROL):
            raise HeadFault("the head holds a control character; lines must end in CR LF")
        self._looked = max(self._looked, end)

    def _check_line(self, end: int) -> None:
        if self._lines == 0 and not self._first.fullmatch(self._data, self._line_at, end):
            raise HeadFault(f"the first line must be {self._form}")
        if self._data[self._line_at] in b" \t":
            raise HeadFault("header lines must not be folded (RFC 9112 §5.2)")
        self._lines += 1
        if self._lines > HEAD_LINES:
            raise HeadFault(f"the head must be at most {HEAD_LINES} lines", too_large=True)
        self._line_at = self._looked = end + 2

    def _skip_empty_line(self) -> None:
        # RFC 9112 §2.2: a server should ignore at least one empty line before the request line. Some send a few.
        self._skipped += 1
        if self._skipped > self._empty_lines:
            raise HeadFault(f"the first line must be {self._form}, not an empty line")
        del self._data[:2]
        self._looked = 0
