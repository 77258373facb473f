"""A child that lives longer or deeper than its parent permits, names others, or is not its parent's child at all."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import identities
from attacks import Case, against
from shots import Shot, leaf_under
from streets import Street

from proxy.core.keys import jwk
from proxy.core.manifest import parse_manifest

ANY_WAY = True  # also as an agent that knows of no proxy

WIDENED, PARENT, DEPTH, MALFORMED = (
    "delegation.widened",
    "delegation.parent",
    "delegation.depth",
    "manifest.malformed",
)

type Chain = Callable[[Street], Sequence[str]]


def cases(way: str) -> Iterator[Case]:
    for name, (attack, code) in CHAINS.items():
        yield against("E03", name, way, Shot(chain=usual), {"chain": attack}, code=code)
    helper = Shot(chain=acting_for(identities.HELPER), signer=identities.key(identities.HELPER))
    for name, (agent, attack) in STRANGERS.items():
        changes = {"chain": attack, "signer": identities.key(agent)}  # whoever acts signs with a key of its own
        yield against("E03", f"a child acts for {name}", way, helper, changes, code=WIDENED)


def usual(street: Street) -> Sequence[str]:
    root = street.house.root()
    return root, leaf_under(root)


def leaf(**claims: object) -> Chain:
    """A fresh root and a leaf with these claims."""

    def chain(street: Street) -> Sequence[str]:
        root = street.house.root()
        return root, leaf_under(root, **claims)

    return chain


def root(**draft: object) -> Chain:
    """A root made with these changes, and an ordinary leaf."""

    def chain(street: Street) -> Sequence[str]:
        top = street.house.root(**draft)
        return top, leaf_under(top)

    return chain


def outlives(street: Street) -> Sequence[str]:
    now = datetime.now(UTC)
    top = street.house.root(exp=now + timedelta(minutes=10))
    return top, leaf_under(top, exp=int((now + timedelta(minutes=20)).timestamp()))


def precedes(street: Street) -> Sequence[str]:
    now = datetime.now(UTC)
    top = street.house.root(nbf=now + timedelta(seconds=3))
    return top, leaf_under(top, nbf=int(now.timestamp()) - 30)


def of_another_parent(street: Street) -> Sequence[str]:
    other = street.house.root(purpose="Anything at all.")
    return street.house.root(), leaf_under(other)


def alone(street: Street) -> Sequence[str]:
    return (leaf_under(street.house.root()),)


def reversed_order(street: Street) -> Sequence[str]:
    return usual(street)[::-1]


def root_twice(street: Street) -> Sequence[str]:
    top, below = usual(street)
    return top, top, below


def without_its_middle(street: Street) -> Sequence[str]:
    top, _, last = three(street)
    return top, last


def three(street: Street, *, narrow: bool = False, again_wide: bool = False) -> Sequence[str]:
    """Root, middle, leaf; the middle may grant nothing, and the leaf claim everything again."""
    key = identities.key("middle")
    top = street.house.root()
    claims: dict[str, object] = {"cnf": {"jwk": jwk(key.public)}}
    if narrow:
        claims["authorization_details"] = []
    middle = leaf_under(top, **claims)
    above = parse_manifest(middle)
    everything = identities.claims_of(top)["authorization_details"]
    last = identities.resealed(
        middle,
        key,
        iss=key.public.kid,
        par_hash=above.id,
        del_depth=2,
        jti=f"{above.jti}.1",
        cnf={"jwk": jwk(identities.leaf_key().public)},
        **({"authorization_details": everything} if again_wide else {}),
    )
    return top, middle, last


def too_long(street: Street) -> Sequence[str]:
    """Five links, each a proper child of the one before but for its depth, which cannot be written."""
    top, middle, last = three(street)
    return top, middle, last, last, last


def acting_for(agent: str, *, sub: str = identities.AGENT, delegates: Sequence[str] | None = None) -> Chain:
    """The agent `sub` delegates to `agent`; its root names `delegates`, its inventory entry what it names."""

    def chain(street: Street) -> Sequence[str]:
        top = street.house.root(sub=sub, may_delegate_to=(agent,) if delegates is None else delegates)
        return top, leaf_under(top, sub=agent, cnf={"jwk": jwk(identities.key(agent).public)})

    return chain


CHAINS: dict[str, tuple[Chain, str]] = {
    "a child outlives its parent": (outlives, WIDENED),
    "a child begins before its parent": (precedes, WIDENED),
    "a child is for another deployment": (leaf(aud="edge-other"), WIDENED),
    "a child has another sponsor": (leaf(sponsor={"id": "cleo", "name": "Cleo Example"}), WIDENED),
    "a child has its sponsor under another name": (leaf(sponsor={"id": "ada", "name": "Ada the Great"}), WIDENED),
    "a child may delegate to more agents": (leaf(may_delegate_to=["clerk-bot", "lookup-bot"]), WIDENED),
    "a child is deeper than its place": (leaf(del_depth=2), DEPTH),
    "a child may be deeper than its parent": (
        lambda street: (top := street.house.root(del_max_depth=1), leaf_under(top, del_max_depth=3)),
        DEPTH,
    ),
    "a child of a parent that permits none": (
        lambda street: (top := street.house.root(del_max_depth=0), leaf_under(top, del_max_depth=1)),
        DEPTH,
    ),
    "a child says it is a root": (leaf(del_depth=0), MALFORMED),
    "a child deeper than any": (leaf(del_depth=4, del_max_depth=4), MALFORMED),
    "a child drops the word constraints": (
        lambda street: (
            top := street.house.root(),
            leaf_under(
                top,
                authorization_details=[
                    {name: value for name, value in detail.items() if name != "constraints"}
                    for detail in identities.claims_of(top)["authorization_details"]
                ],
            ),
        ),
        MALFORMED,
    ),
    "a child adds a constraint nobody knows": (
        lambda street: (
            top := street.house.root(),
            leaf_under(
                top,
                authorization_details=[
                    {**detail, "constraints": {"weekdays": ["sunday"]}}
                    for detail in identities.claims_of(top)["authorization_details"]
                ],
            ),
        ),
        MALFORMED,
    ),
    "a child stands under a parent that is not its own": (of_another_parent, PARENT),
    "a child comes without its parent": (alone, PARENT),
    "a child comes before its parent": (reversed_order, PARENT),
    "a root comes twice": (root_twice, PARENT),
    "a grandchild comes without its parent": (without_its_middle, PARENT),
    "a grandchild takes back what its parent gave up": (
        lambda street: three(street, narrow=True, again_wide=True),
        WIDENED,
    ),
    "more links than are permitted": (too_long, MALFORMED),
}
STRANGERS: dict[str, tuple[str, Chain]] = {
    "an agent that its root does not name": (identities.HELPER, acting_for(identities.HELPER, delegates=())),
    "an agent that only its root names": ("clerk-bot", acting_for("clerk-bot")),
    "an agent that the inventory does not let it name": (
        identities.AGENT,
        acting_for(identities.AGENT, sub=identities.HELPER),
    ),
}
