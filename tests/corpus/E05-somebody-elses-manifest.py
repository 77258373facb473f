"""A manifest that was overheard: it is shown by everyone who uses it, so having it must be worth nothing."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import identities
from attacks import Case, against
from shots import Lines, Shot, leaf_under
from streets import Street

from proxy.core.encoding import b64u
from proxy.core.keys import ES256, PrivateKey, jwk, sign

ANY_WAY = True  # also as an agent that knows of no proxy

MALLORY, HELPER, AGENT = (identities.key(name) for name in ("mallory", identities.HELPER, identities.AGENT))
LEAF = identities.leaf_key()


def cases(way: str) -> Iterator[Case]:
    for name, key in (
        ("a key nobody knows", MALLORY),
        ("another agent's key", HELPER),
        ("the key of the leaf's parent", AGENT),
        ("the sponsor's key", identities.key(identities.SPONSOR)),
        ("a key of another algorithm", identities.key("leaf", ES256)),
    ):
        yield against("E05", f"the request is signed with {name}", way, Shot(), {"signer": key}, code="proof.key")
    changes = {"signer": MALLORY, "spoil": under_the_leafs_name}
    yield against(
        "E05", "the request is signed so, under the leaf's keyid", way, Shot(), changes, code="proof.signature"
    )
    for name, (chain, code) in STOLEN.items():
        yield against("E05", name, way, Shot(chain=own), {"chain": chain, "signer": MALLORY}, code=code)
    yield against(
        "E05", "the manifest comes without a signature", way, Shot(), {"spoil": unsigned}, code="proof.malformed"
    )
    if way == "tls":
        tunnel = Shot(proof="tunnel")
        yield against("E05", "a tunnel is opened with another key", way, tunnel, {"signer": MALLORY}, code="proof.key")


def under_the_leafs_name(lines: Lines, method: str, url: str) -> Lines:
    mine, theirs = MALLORY.public.kid, LEAF.public.kid
    return [(name, value.replace(mine, theirs) if name == "Signature-Input" else value) for name, value in lines]


def unsigned(lines: Lines, method: str, url: str) -> Lines:
    return [line for line in lines if line[0] not in ("Signature", "Signature-Input")]


def own(street: Street) -> Sequence[str]:
    root = street.house.root()
    return root, leaf_under(root)


def minted(signer: PrivateKey, *, kid: str = "", **claims: object):
    """Under a root that was overheard, a leaf for mallory's key, signed with `signer`."""

    def chain(street: Street) -> Sequence[str]:
        root = street.house.root()
        leaf = leaf_under(root, cnf={"jwk": jwk(MALLORY.public)}, **claims)
        header = {"alg": signer.public.alg, "kid": kid or signer.public.kid, "typ": "intent-manifest+jwt"}
        signing_input = f"{b64u(json.dumps(header).encode())}.{leaf.split('.')[1]}"
        return root, f"{signing_input}.{b64u(sign(signer, signing_input.encode()))}"

    return chain


def below_the_leaf(street: Street) -> Sequence[str]:
    """A further link under an overheard leaf, signed with mallory's key in place of the leaf's."""
    root, leaf = own(street)
    now = int(datetime.now(UTC).timestamp())
    further = identities.resealed(
        leaf,
        MALLORY,
        iss=MALLORY.public.kid,
        par_hash=b64u(hashlib.sha256(leaf.rpartition(".")[0].encode()).digest()),
        del_depth=2,
        jti="further",
        cnf={"jwk": jwk(MALLORY.public)},
        iat=now,
    )
    return root, leaf, further


def root_for_mallory(street: Street) -> Sequence[str]:
    """A root signed by the sponsor for a key that nobody enrolled for the agent."""
    root = street.house.root(cnf=MALLORY.public)
    return (root,)


STOLEN = {
    "a leaf is minted with a key nobody knows": (minted(MALLORY, iss=MALLORY.public.kid), "delegation.parent"),
    "a leaf is minted so, under the parent's name": (minted(MALLORY, kid=AGENT.public.kid), "manifest.signature"),
    "a leaf is minted with another agent's key": (minted(HELPER, iss=HELPER.public.kid), "delegation.parent"),
    "a link is added below the leaf": (below_the_leaf, "delegation.parent"),
    "a root is bound to a key that is not the agent's": (root_for_mallory, "manifest.subject"),
    "the chains of two mandates are mixed": (
        lambda street: (own(street)[0], own(street)[1]),
        "delegation.parent",
    ),
}
