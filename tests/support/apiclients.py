"""Programs that ask the review desk's API, without a network."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from identities import SPONSOR
from reviewrooms import Room

from proxy.review.desk.tokens import Scope

ALL = frozenset(Scope)


def make(room: Room, scopes: frozenset[Scope] = ALL, person: str = SPONSOR) -> str:
    """A new token."""
    assert room.parts.api is not None
    return room.parts.api.tokens.add(person, scopes)


@dataclass(kw_only=True)
class Caller:
    """A program with a token."""

    client: httpx.AsyncClient
    headers: dict[str, str]

    async def get(
        self, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None
    ) -> httpx.Response:
        more = headers.items() if isinstance(headers, Mapping) else headers or ()
        sent = [(name.encode(), value.encode("latin-1")) for name, value in (*self.headers.items(), *more)]
        return await self.client.get(f"/api/v1{path}", headers=sent)

    async def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.client.post(f"/api/v1{path}", json=body, headers={**self.headers, **(headers or {})})


@asynccontextmanager
async def caller(
    room: Room, scopes: frozenset[Scope] = ALL, person: str = SPONSOR, *, token: str | None = ""
) -> AsyncIterator[Caller]:
    """A program with a token of these scopes; or with this one; or None, without."""
    text = make(room, scopes, person) if token == "" else token
    transport = httpx.ASGITransport(app=room.app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url=room.origins[0]) as client:
        yield Caller(client=client, headers={} if text is None else {"Authorization": f"Bearer {text}"})
