"""people.yaml: the humans who may sponsor, deputise and review, with the keys they sign with, and the review desk."""

from collections.abc import Iterable
from datetime import UTC, datetime

from proxy.core.model import OidcIdentity, Passkey, Person, PublicKey, ReviewDesk
from proxy.policy.clusters import ROLES
from proxy.policy.document import THE_FILE, Fields, identifier, listed, moment, one_line, public_key, version
from proxy.policy.faults import Faults, instead, shown
from proxy.policy.oidc import read_identities
from proxy.policy.passkeys import check_passkeys, read_desk, read_passkeys
from proxy.policy.yaml import Table

RESERVED = frozenset({"operator", *ROLES})
"""Ids no person or agent may have: they mean something else in statements and in `review.who`."""

_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)


class Enrolled:
    """Who has which id and which key, over operators, desks, people and agents: neither may be used twice.

    One key for two parties would let one of them sign as the other; so an agent could answer its own holds.
    """

    def __init__(self, operators: Iterable[PublicKey]) -> None:
        self._keys = {key.kid: "an operator" for key in operators}
        self._ids: dict[str, str] = dict.fromkeys(RESERVED, "reserved")
        self._credentials: dict[bytes, str] = {}
        self._identities: dict[tuple[str, str, str], str] = {}

    def claim(self, entry: Fields, name: str, keys: Iterable[PublicKey], *, whose: str) -> None:
        """Note an id and its keys; a clash with somebody else's goes to the faults of the entry."""
        if name and name in self._ids:
            entry.fault("id", f"{shown(name)} is {self._ids[name]}; choose another")
            return
        self._ids[name] = f"already {whose}"
        self.claim_keys(entry, "keys", keys, whose=whose)

    def claim_keys(self, entry: Fields, field: str, keys: Iterable[PublicKey], *, whose: str) -> None:
        """Note keys that stand under `field`; one that is somebody else's goes to the faults of the entry."""
        for key in keys:
            owner = self._keys.setdefault(key.kid, whose)
            if owner != whose:
                entry.fault(field, f"the key {key.kid} is already that of {owner}; everyone needs a key of their own")

    def claim_passkeys(self, entry: Fields, passkeys: Iterable[Passkey], *, whose: str) -> None:
        """Note passkeys: each has a key, an id and, among those of one person, a name that no other has."""
        names: set[str] = set()
        for passkey in passkeys:
            self.claim_keys(entry, "passkeys", (passkey.key,), whose=f"passkey {shown(passkey.name)} of {whose}")
            if passkey.name in names or passkey.id in self._credentials:
                told = self._credentials.get(passkey.id, f"{whose}, under that name")
                entry.fault("passkeys", f"{shown(passkey.name)} is already a passkey of {told}; remove one of them")
            names.add(passkey.name)
            self._credentials[passkey.id] = whose

    def claim_identities(self, entry: Fields, identities: Iterable[OidcIdentity], *, whose: str) -> None:
        """Note who somebody is to a provider: one identity is one person. Case keeps none of them apart."""
        for each in identities:
            known = (each.issuer.rstrip("/"), each.claim.value, each.value.casefold())
            if known in self._identities:
                told = f"{each.claim.value} {shown(each.value)} at {each.issuer} is already {self._identities[known]}"
                entry.fault("oidc", f"{told}; one identity is one person, and stands there once")
            self._identities.setdefault(known, whose)


def read_people(root: Table, faults: Faults, enrolled: Enrolled) -> tuple[dict[str, Person], ReviewDesk]:
    """The people of the file, by id, and the review desk; what is wrong goes to `faults`."""
    fields = Fields(root, THE_FILE, faults)
    fields.need("version", version, 1)
    desk = read_desk(fields)
    known = fields.clean  # with its origins unread, every passkey would seem to be of another domain
    enrolled.claim_keys(fields, "desk", desk.keys, whose="the review desk")
    people: dict[str, Person] = {}
    entries: dict[str, Fields] = {}
    for entry in fields.each("people", "person", named_by="id", needed=True):
        person = Person(
            id=entry.need("id", identifier, ""),
            name=entry.need("name", one_line, ""),
            role=entry.need("role", one_line, ""),
            deputy=entry.take("deputy", identifier, "") or None,
            certified_until=entry.need("certified_until", moment, _UNKNOWN),
            keys=entry.take("keys", listed(public_key, empty=True), ()),
            passkeys=read_passkeys(entry),
            oidc=read_identities(entry),
        )
        enrolled.claim(entry, person.id, person.keys, whose=f"person {shown(person.id)}")
        enrolled.claim_passkeys(entry, person.passkeys, whose=f"person {shown(person.id)}")
        enrolled.claim_identities(entry, person.oidc, whose=f"person {shown(person.id)}")
        if known:
            check_passkeys(person, desk, entry)
        entry.done()
        people.setdefault(person.id, person)
        entries.setdefault(person.id, entry)
    fields.done()
    for person in people.values():
        _check_deputy(person, people, entries[person.id])
    return people, desk


def _check_deputy(person: Person, people: dict[str, Person], entry: Fields) -> None:
    if person.deputy is None:
        return
    if person.deputy not in people:
        names = set(people) - {person.id}
        entry.fault("deputy", f"there is no person {shown(person.deputy)}{instead(person.deputy, names)}")
        return
    circle = [person.id]
    follower: str | None = person.deputy
    while follower is not None and follower in people and follower not in circle:
        circle.append(follower)
        follower = people[follower].deputy
    if follower == person.id and person.id == min(circle):  # told once, at one of its members
        way = " → ".join([*circle, person.id])
        entry.fault("deputy", f"deputies form a circle, {way}; name somebody outside it, or nobody")
