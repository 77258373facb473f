"""One entry of the API: what is asked, what may come with it, and what is answered. Routes, checks and the OpenAPI
document are all made of these entries.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from proxy.core.answer import json_bytes
from proxy.core.clusters import Policy
from proxy.core.encoding import Json
from proxy.core.model import Bundle, Person
from proxy.review.desk.api.schemas import Schema
from proxy.review.desk.opening import opened_for
from proxy.review.desk.parts import ApiParts, DeskParts
from proxy.review.desk.tokens import Scope, Token
from proxy.review.opened import HeldCall

BASE = "/api/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A query parameter. `many`: it may be repeated."""

    name: str
    schema: Schema
    summary: str
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One request of a token that counts. `query` and `body` are as their schemas say."""

    request: Request
    parts: DeskParts
    api: ApiParts
    token: Token
    person: Person
    policy: Policy
    now: datetime
    query: Mapping[str, tuple[str, ...]]
    body: Mapping[str, Json]

    @property
    def bundle(self) -> Bundle:
        return self.policy.bundle

    def first(self, name: str, usual: str = "") -> str:
        """A query parameter."""
        return self.query.get(name, (usual,))[0]

    async def held(self) -> HeldCall:
        """The hold in the path, opened, if it concerns the token's person. For others it is not there.

        Raises:
            Rejected(HOLD_UNKNOWN, HOLD_TAMPERED): as `ReviewService.show`.
        """
        return await opened_for(self.parts, self.person, str(self.request.path_params["hold"]))


type Handler = Callable[[Asking], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one place. `body` and `answer` name components."""

    method: str
    path: str  # below BASE
    name: str
    summary: str
    scope: Scope
    handler: Handler
    answer: str
    body: str | None = None
    query: tuple[Param, ...] = ()
    statuses: tuple[int, ...] = ()  # besides those that every operation has
    stream: bool = False  # server-sent events instead of a document


def answer(value: dict[str, Json]) -> Response:
    """A document."""
    return Response(json_bytes(value), media_type="application/json")
