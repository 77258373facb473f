"""F07: whoever has the review desk, and so the key that carries what passkeys sign, makes no mandate with it.

The twin's root is signed by the sponsor's passkey at that desk. The agent's key, which signs the leaf, is in the
attacker's hands, too: an agent that may do nothing, and the desk.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import identities
from attacks import Case, against
from authenticators import UP, authenticator
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from identities import AGENT, SPONSOR
from shots import Shot
from streets import Street

from proxy.core.encoding import Json, b64u, unb64u
from proxy.core.errors import Code
from proxy.core.jws import seal
from proxy.core.keys import PrivateKey, one_form, sign
from proxy.core.manifest import MANIFEST_TYP, parse_manifest
from proxy.core.passkeys import WEBAUTHN, Assertion
from proxy.core.release import RELEASE_TYP
from proxy.core.sponsoring import sponsored_challenge

ANY_WAY = True  # also as an agent that knows of no proxy

DESK_KEY, STICK = identities.key("desk"), authenticator(SPONSOR)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SIGNATURE = "manifest.signature"

type Claims = dict[str, Json]
type Make = Callable[[Claims], str]


class Rooted:
    """The usual chain, its root made anew of its claims; the leaf is made anew under it, so that it fits."""

    def __init__(self, make: Make) -> None:
        self._make = make

    def __call__(self, street: Street) -> Sequence[str]:
        root, leaf = street.chain()
        made = self._make(identities.claims_of(root))
        return made, identities.resealed(leaf, identities.key(AGENT), par_hash=parse_manifest(made).id)


def asserted(claims: Claims, typ: str = MANIFEST_TYP, **changes: object) -> Assertion:
    assertion = STICK.sign(sponsored_challenge(claims, typ=typ, kid=DESK_KEY.public.kid), **changes)
    return replace(assertion, signature=one_form(STICK.key.public, assertion.signature))


def sealed(claims: Claims, assertion: Assertion, key: PrivateKey = DESK_KEY) -> str:
    return seal({**claims, WEBAUTHN: assertion.as_claim()}, typ=MANIFEST_TYP, key=key)


def longer(claims: Claims) -> str:
    """An assertion for less time than the manifest says."""
    end = claims["exp"]
    assert isinstance(end, int)
    return sealed(claims, asserted({**claims, "exp": end - 1}))


def with_other_s(claims: Claims) -> str:
    assertion = asserted(claims)
    r, s = decode_dss_signature(assertion.signature)
    return sealed(claims, replace(assertion, signature=encode_dss_signature(r, ORDER - s)))


def spaced(claims: Claims) -> str:
    """The same, with a space more: another id, under which nothing was counted or revoked yet."""
    header, payload, _ = sealed(claims, asserted(claims)).split(".")
    text = unb64u(payload, code=Code.MANIFEST_MALFORMED, field="payload")
    signing_input = f"{header}.{b64u(b' ' + text)}"
    return f"{signing_input}.{b64u(sign(DESK_KEY, signing_input.encode()))}"


MAKES: dict[str, tuple[Make, str]] = {
    "on its word alone": (lambda claims: seal(claims, typ=MANIFEST_TYP, key=DESK_KEY), SIGNATURE),
    "with an assertion for a manifest that ends sooner": (longer, SIGNATURE),
    "with an assertion for a release": (lambda claims: sealed(claims, asserted(claims, RELEASE_TYP)), SIGNATURE),
    "with an assertion of somebody whom nobody verified": (
        lambda claims: sealed(claims, asserted(claims, flags=UP)),
        SIGNATURE,
    ),
    "with an assertion at another page": (
        lambda claims: sealed(claims, asserted(claims, origin="https://desk.evil.example")),
        SIGNATURE,
    ),
    "with a passkey of its own": (
        lambda claims: sealed(claims, asserted(claims, key=identities.key("mallory", "ES256"))),
        SIGNATURE,
    ),
    "with a passkey that nobody enrolled": (
        lambda claims: sealed(claims, asserted(claims, id=b"0123456789abcdef")),
        SIGNATURE,
    ),
    "with another person's passkey": (
        lambda claims: sealed(claims, asserted(claims, id=authenticator("cleo").id, key=authenticator("cleo").key)),
        SIGNATURE,
    ),
    "with a true assertion under the agent's key": (
        lambda claims: sealed(claims, asserted(claims), identities.key(AGENT)),
        SIGNATURE,
    ),
    "a second time of one touch, by the passkey's other s": (with_other_s, SIGNATURE),
    "a second time of one touch, by a space": (spaced, SIGNATURE),
}


def cases(way: str) -> Iterator[Case]:
    base = Shot(chain=Rooted(lambda claims: sealed(claims, asserted(claims))))
    for name, (make, code) in MAKES.items():
        yield against("F07", f"the desk makes a mandate {name}", way, base, {"chain": Rooted(make)}, code=code)
