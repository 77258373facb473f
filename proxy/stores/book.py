"""What keeps the addresses that stand for names, as a small Protocol; in memory and on Redis alike (`ports`)."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from proxy.core.places import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """An address that stands for a name. `created`: it did not before."""

    address: IPv4Address
    created: bool


class AddressBook(Protocol):
    """Which address stands for which name, place by place (`core.addressbook`)."""

    async def allot(self, place: Place, name: str, *, quota: int) -> Allotment | None:
        """The address of a name at a place, kept before it is told; None: the place has as many names as it may.

        A name that has one keeps it, and its time begins anew.

        Raises:
            Unavailable: the store does not answer.
        """

    async def name_of(self, place: Place, address: IPv4Address) -> str | None:
        """The name behind an address at a place; None: there is none, or no longer.

        Raises:
            Unavailable: the store does not answer.
        """
