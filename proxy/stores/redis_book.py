"""The address book on Redis: each place has a page of its own, which ends a day after its last answer."""

import hashlib
from ipaddress import IPv4Address

from proxy.core.addressbook import KEPT_S, VALID_S, candidates
from proxy.core.errors import Code, Unavailable
from proxy.core.places import Place
from proxy.core.transparent import STUB_NETWORK
from proxy.stores.book import AddressBook, Allotment
from proxy.stores.redis import PREFIX, RedisServer, Reply, script

_ALLOT = script("book_allot")
_NAME = script("book_name", durable=False)


class RedisBook(AddressBook):
    """The addresses of a deployment. `secret` makes which address a name gets nobody's guess."""

    def __init__(self, server: RedisServer, *, secret: bytes) -> None:
        self._server = server
        self._secret = secret

    async def allot(self, place: Place, name: str, *, quota: int) -> Allotment | None:
        tried = [str(each) for each in candidates(self._secret, place.label, name)]
        addresses, names, answered = _page(place)
        match await self._server.run(
            _ALLOT, (addresses, names, answered), (name, str(quota), str(VALID_S), str(KEPT_S), *tried)
        ):
            case [b"", bytes()]:
                return None
            case [bytes(address), bytes(created)] as reply:
                return Allotment(address=_address(address, reply), created=created == b"1")
            case other:
                raise _unexpected(other)

    async def name_of(self, place: Place, address: IPv4Address) -> str | None:
        _, names, answered = _page(place)
        match await self._server.run(_NAME, (names, answered), (str(address), str(VALID_S))):
            case b"":
                return None
            case bytes(name):
                return name.decode("ascii", "replace")
            case other:
                raise _unexpected(other)


def _page(place: Place) -> tuple[str, str, str]:
    page = f"{PREFIX}book:{hashlib.sha256(place.label.encode()).hexdigest()}"
    return f"{page}:addresses", f"{page}:names", f"{page}:answered"


def _address(text: bytes, reply: Reply) -> IPv4Address:
    try:
        address = IPv4Address(text.decode("ascii", "replace"))
    except ValueError:
        raise _unexpected(reply) from None
    if address not in STUB_NETWORK:
        raise _unexpected(reply)
    return address


def _unexpected(reply: Reply) -> Unavailable:
    return Unavailable(Code.STORE_DOWN, f"the store answered a question about addresses with {type(reply).__name__}")
