"""One bit flipped in a manifest, anywhere: in header, payload or signature of the root or of the leaf.

The request itself is signed afresh over what it bears, so that nothing but the manifest is wrong. Unit tests flip
every bit; here a seeded choice goes over the wire.
"""

import random
from collections.abc import Iterator, Sequence

from attacks import Case, against
from shots import Shot
from streets import Street

from proxy.core.encoding import b64u, unb64u
from proxy.core.errors import Code

ANY_WAY = True  # also as an agent that knows of no proxy

PARTS = ("header", "payload", "signature")
FLIPS = 5  # of each part of each link
CODES = frozenset(
    code.value for code in Code if code.value.startswith(("manifest.", "delegation.", "sponsor.", "agent.", "proof."))
)
"""Which of them depends on the bit: a flipped letter of `iss` names nobody, one of a key is no point on its curve."""


def cases(way: str) -> Iterator[Case]:
    chosen = random.Random("manifest")
    for link, owner in enumerate(("root", "leaf")):
        for part, what in enumerate(PARTS):
            for _ in range(FLIPS):
                at = chosen.random()
                name = f"a bit at {at:.2%} of the {owner}'s {what}"
                yield against("E01", name, way, Shot(), {"chain": Flipped(link, part, at)}, code=CODES)


class Flipped:
    """The usual chain with one bit of one part of one link flipped; `at` is how far into the part, from 0 to 1."""

    def __init__(self, link: int, part: int, at: float) -> None:
        self._link, self._part, self._at = link, part, at

    def __call__(self, street: Street) -> Sequence[str]:
        chain = list(street.chain())
        parts = chain[self._link].split(".")
        data = bytearray(unb64u(parts[self._part], code=Code.MANIFEST_MALFORMED, field="part"))
        bit = int(self._at * len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
        parts[self._part] = b64u(bytes(data))
        chain[self._link] = ".".join(parts)
        return chain
