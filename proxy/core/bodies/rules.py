"""What an operation says of a call's body, as plain data: one frozen class for each kind of rule."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyBody:
    """Any body, or none. It is read up to the caps, but nothing in it is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBody:
    """An empty body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unexamined:
    """Any body of any length. The call is judged by its head, and the body streams through as it comes."""


type BodyRule = AnyBody | NoBody | Unexamined

ANY_BODY = AnyBody()
