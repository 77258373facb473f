"""One bit flipped in a signed request: in its method, its path, a covered field, or the signature itself."""

import base64
import random
from collections.abc import Iterator

from attacks import Case, against
from shots import Lines, Shot

from proxy.core.errors import Code

ANY_WAY = True  # also as an agent that knows of no proxy

FLIPS = 3  # of each thing that is signed
CODES = frozenset(
    code.value
    for code in Code
    if code.value.startswith(("proof.", "manifest.", "intent.", "delegation.", "request.", "url."))
)
"""Which of them depends on the bit: some letters become controls, or end a field or a URL."""

CALL = Shot(
    method="POST",
    path="/v1/invoices",
    body='{"total": 12}',
    declares="supplier-invoices",
    headers=(
        ("Content-Type", "application/json"),
        ("Content-Encoding", "identity"),
        ("Authorization", "Bearer 0123456789abcdef"),
        ("Cookie", "session=0123456789abcdef"),
        ("Idempotency-Key", "0123456789abcdef"),
        ("Prefer", "handling=lenient"),
    ),
)
FIELDS = (
    *(name for name, _ in CALL.headers),
    "Agent-Intent",
    "Intent-Manifest",
    "Content-Digest",
    "Signature-Input",
    "Signature",
)


def cases(way: str) -> Iterator[Case]:
    chosen = random.Random("request")
    for field in FIELDS:
        for _ in range(FLIPS):
            spoil = FlippedField(field.lower(), chosen.random(), chosen.randrange(7))
            yield against("E01", f"{spoil} of {field}", way, CALL, {"spoil": spoil}, code=CODES)
    for part in ("method", "path"):
        for _ in range(FLIPS):
            flip = Flip(chosen.random(), chosen.randrange(5))
            text = getattr(CALL, part)
            changes = {part: flip(text if part == "method" else text[1:]), "signs": CALL}
            changes["path"] = f"/{changes['path']}" if part == "path" else CALL.path
            yield against("E01", f"{flip} of the {part}", way, CALL, changes, code=CODES)
    yield against("E01", "the last bit of Content-Length", way, CALL, {"spoil": _shorter}, code="proof.signature")
    for _ in range(2 * FLIPS):
        spoil = FlippedSignature(chosen.randrange(512))
        yield against("E01", f"{spoil} of the signature", way, CALL, {"spoil": spoil}, code="proof.signature")


class Flip:
    """Flips one bit of the letter that stands `at` (from 0 to 1) of a text."""

    def __init__(self, at: float, bit: int) -> None:
        self._at, self._bit = at, bit

    def __str__(self) -> str:
        return f"bit {self._bit} of the letter at {self._at:.1%}"

    def __call__(self, text: str) -> str:
        place = int(self._at * len(text))
        return text[:place] + chr(ord(text[place]) ^ 1 << self._bit) + text[place + 1 :]


class FlippedField(Flip):
    """A `Flip` in the value of one header field."""

    def __init__(self, field: str, at: float, bit: int) -> None:
        super().__init__(at, bit)
        self._field = field

    def __call__(self, lines: Lines, method: str, url: str) -> Lines:
        flip = super().__call__
        return [(name, flip(value) if name.lower() == self._field else value) for name, value in lines]


class FlippedSignature:
    """Flips one bit of the 64 bytes of the signature."""

    def __init__(self, bit: int) -> None:
        self._bit = bit

    def __str__(self) -> str:
        return f"bit {self._bit}"

    def __call__(self, lines: Lines, method: str, url: str) -> Lines:
        *rest, (name, value) = lines
        signature = bytearray(base64.b64decode(value.removeprefix("intent=:").removesuffix(":")))
        signature[self._bit // 8] ^= 1 << self._bit % 8
        return [*rest, (name, f"intent=:{base64.b64encode(signature).decode()}:")]


def _shorter(lines: Lines, method: str, url: str) -> Lines:
    return [(name, "12" if name == "Content-Length" else value) for name, value in lines]
