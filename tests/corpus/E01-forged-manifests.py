"""Manifests that were not signed by whom they name: no algorithm, another's, another's key, odd headers.

The request itself is well signed with the leaf's key over what it bears.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import identities
from attacks import Case, against
from shots import Shot
from streets import Street

from proxy.core.encoding import b64u
from proxy.core.keys import ED25519, ES256, PrivateKey, sign

ANY_WAY = True  # also as an agent that knows of no proxy

SPONSOR, OTHER, AGENT = identities.SPONSOR, "cleo", identities.AGENT
MALFORMED, SIGNATURE = "manifest.malformed", "manifest.signature"

type Forge = Callable[[str], str]


def cases(way: str) -> Iterator[Case]:
    for name, (forge, code) in ROOTS.items():
        yield against("E01", f"a root {name}", way, Shot(), {"chain": Forged(0, forge)}, code=code)
    for name, (forge, code) in LEAVES.items():
        yield against("E01", f"a leaf {name}", way, Shot(), {"chain": Forged(1, forge)}, code=code)


class Forged:
    """The usual chain with one link forged; a leaf under a forged root is made anew, so that it fits its parent."""

    def __init__(self, link: int, forge: Forge) -> None:
        self._link, self._forge = link, forge

    def __call__(self, street: Street) -> Sequence[str]:
        root, leaf = street.chain()
        if self._link == 1:
            return root, self._forge(leaf)
        forged = self._forge(root)
        parent = b64u(hashlib.sha256(forged.rpartition(".")[0].encode()).digest())
        return forged, identities.resealed(leaf, identities.key(AGENT), par_hash=parent)


def header(key: PrivateKey, **changed: object) -> dict[str, object]:
    return {"alg": key.public.alg, "kid": key.public.kid, "typ": "intent-manifest+jwt", **changed}


def sealed(header: Mapping[str, object] | bytes, key: PrivateKey | None, **claims: object) -> Forge:
    """The link with this header and these claims changed, signed with `key`; without one it keeps its old signature."""

    def forge(token: str) -> str:
        head = header if isinstance(header, bytes) else json.dumps(header).encode()
        payload = json.dumps({**identities.claims_of(token), **claims}).encode() if claims else None
        signing_input = f"{b64u(head)}.{b64u(payload) if payload else token.split('.')[1]}"
        signature = b64u(sign(key, signing_input.encode())) if key else token.split(".")[2]
        return f"{signing_input}.{signature}"

    return forge


def with_hmac(alg: str, secret: bytes) -> Forge:
    """Key confusion: the public key as the secret of a symmetric algorithm (RFC 8725 §2.1)."""

    def forge(token: str) -> str:
        signing_input = f"{b64u(json.dumps(header(ours, alg=alg)).encode())}.{token.split('.')[1]}"
        return f"{signing_input}.{b64u(hmac.digest(secret, signing_input.encode(), 'sha256'))}"

    return forge


ours, theirs, agents = identities.key(SPONSOR), identities.key(OTHER), identities.key(AGENT)
leaf, unknown = identities.leaf_key(), identities.key("mallory")
unknown_es256 = identities.key("mallory", ES256)
sponsor_is_other = {"iss": OTHER, "sponsor": {"id": OTHER, "name": "Cleo Example"}}
twice = json.dumps(header(ours)).replace('"alg"', '"alg": "none", "alg"', 1).encode()

ROOTS: dict[str, tuple[Forge, str]] = {
    "with no algorithm and its old signature": (sealed(header(ours, alg="none"), None), MALFORMED),
    "with no algorithm and no signature": (
        lambda token: f"{b64u(json.dumps(header(ours, alg='none')).encode())}.{token.split('.')[1]}.",
        MALFORMED,
    ),
    "with no algorithm in capitals": (sealed(header(ours, alg="NONE"), None), MALFORMED),
    "without the member alg": (sealed({"kid": ours.public.kid, "typ": "intent-manifest+jwt"}, ours), MALFORMED),
    "that says it was signed with ES256": (sealed(header(ours, alg=ES256), ours), SIGNATURE),
    "that uses the algorithm's older name": (sealed(header(ours, alg="EdDSA"), ours), MALFORMED),
    "that uses the algorithm's name in small letters": (sealed(header(ours, alg="ed25519"), ours), MALFORMED),
    "authenticated with the public key as a secret": (with_hmac("HS256", ours.public.raw), MALFORMED),
    "authenticated so under the true algorithm's name": (with_hmac(ED25519, ours.public.raw), SIGNATURE),
    "signed by another sponsor's key": (sealed(header(ours), theirs), SIGNATURE),
    "signed by another sponsor's key and kid": (sealed(header(theirs), theirs), SIGNATURE),
    "of another sponsor in every claim": (sealed(header(theirs), theirs, **sponsor_is_other), "manifest.subject"),
    "whose iss and sponsor differ": (sealed(header(theirs), theirs, iss=OTHER), MALFORMED),
    "signed by the agent itself": (sealed(header(agents), agents), SIGNATURE),
    "signed by the agent with the sponsor's kid": (sealed(header(ours), agents), SIGNATURE),
    "signed by an operator": (sealed(header(identities.key("operator")), identities.key("operator")), SIGNATURE),
    "signed by nobody we know": (sealed(header(unknown), unknown), SIGNATURE),
    "signed by nobody we know with ES256": (sealed(header(unknown_es256), unknown_es256), SIGNATURE),
    "with a critical extension": (sealed(header(ours, crit=["x"], x=1), ours), MALFORMED),
    "with an empty list of critical extensions": (sealed(header(ours, crit=[]), ours), MALFORMED),
    "that calls a registered claim critical": (sealed(header(ours, crit=["exp"]), ours), MALFORMED),
    "that brings its own key": (sealed(header(ours, jwk={"kty": "OKP"}), ours), MALFORMED),
    "that says where to fetch its key": (sealed(header(ours, jku="https://evil.example/"), ours), MALFORMED),
    "whose payload is not encoded": (sealed(header(ours, b64=False), ours), MALFORMED),
    "with one member of its header twice": (sealed(twice, ours), MALFORMED),
    "that is another kind of statement": (sealed(header(ours, typ="intent-release+jwt"), ours), MALFORMED),
    "that is any token": (sealed(header(ours, typ="JWT"), ours), MALFORMED),
    "with a claim nobody knows": (sealed(header(ours), ours, scope="*"), MALFORMED),
    "with the signature of its leaf": (lambda token: f"{token.rpartition('.')[0]}.{'A' * 86}", SIGNATURE),
    "in padded base64": (lambda token: token.replace(".", "=.", 1), MALFORMED),
    "with a line end in it": (lambda token: f"{token[:40]}%0A{token[40:]}", MALFORMED),
}
PARENT = "delegation.parent"
LEAVES: dict[str, tuple[Forge, str]] = {
    "with no algorithm and its old signature": (sealed(header(agents, alg="none"), None), MALFORMED),
    "signed with its own key": (sealed(header(leaf), leaf), MALFORMED),
    "signed with its own key and issued by it": (sealed(header(leaf), leaf, iss=leaf.public.kid), PARENT),
    "signed with its own key under its parent's kid": (sealed(header(agents), leaf), SIGNATURE),
    "signed by the sponsor": (sealed(header(ours), ours, iss=ours.public.kid), PARENT),
    "signed by nobody we know": (sealed(header(unknown), unknown, iss=unknown.public.kid), PARENT),
    "that says it was signed with ES256": (sealed(header(agents, alg=ES256), agents), SIGNATURE),
    "with a critical extension": (sealed(header(agents, crit=["x"], x=1), agents), MALFORMED),
}
