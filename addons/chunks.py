"""The chunks of a request's body (RFC 9112 §7.1), read strictly: what is wrong is known at once, not waited out.

h11's reader waits for CR LF whatever else comes, and takes sizes of 80 bits, control characters in extensions and a
bare line feed at the end.
"""

import re

import h11
from h11._receivebuffer import ReceiveBuffer

LINE_BYTES = 4_096
EXCESS_BYTES = 16_384
"""How much more than usual all size lines together may take: extensions are read only to be forgotten."""

_USUAL_BYTES = 16
_SIZE = r"[0-9A-Fa-f]{1,16}"
_EXTENSION = r"[ \t]*;[\t\x20-\x7e\x80-\xff]*"
_LINE = re.compile(rf"({_SIZE})(?:{_EXTENSION}|[ \t]*)\r\n".encode("latin-1"))
_BEGUN = re.compile(rf"(?:{_SIZE}(?:{_EXTENSION}|[ \t]*)\r?)?".encode("latin-1"))
_MOST = 2**63 - 1  # where others overflow
_END = b"\r\n"


class Trailers(Exception):
    """Fields follow the last chunk."""


class Chunks:
    """Reads one body, as h11's readers do: the next piece of it, its end, or None while more must come."""

    def __init__(self) -> None:
        self._left = 0  # of this chunk
        self._excess = 0
        self._ending = b""  # what must come next
        self._last = False

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        if self._ending and not self._is_ended(buf):
            return None
        if self._last:
            return h11.EndOfMessage()
        if not self._left:
            return self(buf) if self._begin(buf) else None
        data = buf.maybe_extract_at_most(self._left)
        if data is None:
            return None
        self._left -= len(data)
        self._ending = b"" if self._left else _END
        return h11.Data(data=bytes(data))

    def read_eof(self) -> h11.EndOfMessage:
        """The sender is gone; this is no end."""
        raise h11.RemoteProtocolError("the body ends before its last chunk")

    def _begin(self, buf: ReceiveBuffer) -> bool:
        line = buf.maybe_extract_next_line()
        if line is None:
            if len(buf) > LINE_BYTES or not _BEGUN.fullmatch(bytes(buf)):
                raise h11.RemoteProtocolError("not the size of a chunk")
            return False
        found = _LINE.fullmatch(line) if len(line) <= LINE_BYTES else None
        size = _MOST + 1 if found is None else int(found[1], 16)
        self._excess = max(0, self._excess + len(line) - _USUAL_BYTES)
        if size > _MOST or self._excess > EXCESS_BYTES:
            raise h11.RemoteProtocolError("not the size of a chunk")
        self._left, self._last = size, size == 0
        self._ending = _END if self._last else b""
        return True

    def _is_ended(self, buf: ReceiveBuffer) -> bool:
        data = bytes(buf.maybe_extract_at_most(len(self._ending)) or b"")
        if not self._ending.startswith(data):
            if self._last:
                raise Trailers
            raise h11.RemoteProtocolError("a chunk must end where its size says")
        self._ending = self._ending[len(data) :]
        return not self._ending
