"""The address book within one process: as on Redis, and gone when the process ends."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Address

from proxy.core.addressbook import KEPT_S, VALID_S, candidates
from proxy.core.places import Place
from proxy.stores.book import AddressBook, Allotment
from proxy.stores.memory import Clock, system_clock


@dataclass(slots=True)
class _Page:
    addresses: dict[str, IPv4Address] = field(default_factory=dict)
    names: dict[IPv4Address, str] = field(default_factory=dict)
    answered: dict[str, datetime] = field(default_factory=dict)


class MemoryBook(AddressBook):
    """The addresses of one process."""

    def __init__(self, *, now: Clock = system_clock) -> None:
        self._clock = now
        self._secret = secrets.token_bytes(32)
        self._pages: dict[str, _Page] = {}

    async def allot(self, place: Place, name: str, *, quota: int) -> Allotment | None:
        page, now = self._pages.setdefault(place.label, _Page()), self._clock()
        known = page.addresses.get(name)
        if known is not None:
            page.answered[name] = now
            return Allotment(address=known, created=False)
        for old in [each for each, at in page.answered.items() if at <= now - timedelta(seconds=KEPT_S)]:
            del page.answered[old], page.names[page.addresses.pop(old)]
        if sum(at > now - timedelta(seconds=VALID_S) for at in page.answered.values()) >= quota:
            return None
        for address in candidates(self._secret, place.label, name):
            if address not in page.names:
                page.addresses[name], page.names[address], page.answered[name] = address, name, now
                return Allotment(address=address, created=True)
        return None

    async def name_of(self, place: Place, address: IPv4Address) -> str | None:
        page = self._pages.get(place.label, _Page())
        name = page.names.get(address)
        if name is None or page.answered[name] <= self._clock() - timedelta(seconds=VALID_S):
            return None
        return name
