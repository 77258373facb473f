"""What a call is compared with: its destination taken apart once, and operations made ready to compare.

Whatever is compared yields what does not fit, as data. "Fits" is "nothing to say": one rule serves the verdict and the
explanation.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import ip_address

from proxy.core.bodies.judge import PreparedBody, prepare_body
from proxy.core.folding import parameter_readings, readings_meet, same_parameter
from proxy.core.model import Call, IPAddress, Mismatch, Operation, QueryRule, authority_of
from proxy.core.readings import encoded_twice, query_readings, value_readings
from proxy.core.shown import shown, some_of
from proxy.core.templates import Template, parse_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a call goes. `above` holds every name the host lies below; an IP literal lies below none."""

    origin: str
    scheme: str
    host: str
    port: int
    above: frozenset[str]
    literal: IPAddress | None


def destination_of(call: Call) -> Destination:
    """The destination of a canonical call, whose host is a name or an IP literal and nothing between."""
    return _destination(call.scheme, call.host, call.port)


@lru_cache(maxsize=4096)
def _destination(scheme: str, host: str, port: int) -> Destination:
    literal = ip_address(host) if ":" in host or host.rpartition(".")[2].isdigit() else None
    return Destination(
        origin=f"{scheme}://{authority_of(scheme, host, port)}",
        scheme=scheme,
        host=host,
        port=port,
        above=frozenset(names_above(host)) if literal is None else frozenset(),
        literal=literal,
    )


def names_above(host: str) -> Iterator[str]:
    """Every name a host lies below, the nearest first. Not for IP literals, which lie below none."""
    _, _, rest = host.partition(".")
    while rest:
        yield rest
        _, _, rest = rest.partition(".")


class GivenQuery:
    """What the query of a call gives, in every reading. Names are folded once, and only if a rule asks."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def values(self, name: str) -> Iterator[str]:
        """The values under any name that some servers take for this one."""
        sought = parameter_readings(name)
        for given, values in self._folded.items():
            if readings_meet(sought, given):
                yield from values

    @cached_property
    def _folded(self) -> Mapping[frozenset[str], Sequence[str]]:
        found: defaultdict[frozenset[str], list[str]] = defaultdict(list)
        for name, value in query_readings(self._call):
            found[parameter_readings(name)].append(value)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedOperation:
    """An operation with its template parsed, its query rules by name and its body rule compiled."""

    operation: Operation
    template: Template
    query: Mapping[str, QueryRule]
    required: tuple[str, ...]
    body: PreparedBody

    def fits_protocol(self, call: Call) -> bool:
        """Whether the call opens a WebSocket and the operation is for that, or neither."""
        return self.operation.websocket is call.websocket

    def query_faults(self, parameters: Sequence[tuple[str, str]]) -> Iterator[Mismatch]:
        """What in a query the operation does not permit: only listed parameters, none missing, and each
        at most once unless its rule says `repeated`.

        A parameter also counts as there under another name that some servers take for it (`same_parameter`). Values are
        named only where a rule constrains them; those of unlisted parameters may be anything, secrets too.
        """
        if self.operation.any_query:
            yield from (_twice(name) for name, value in parameters if encoded_twice(value))
            return
        seen: set[str] = set()
        for name, value in parameters:
            rule = self.query.get(name)
            if rule is None:
                yield Mismatch(field="query", expected=some_of(self.query) or "no query", got=f"{shown(name)}=")
            elif any(same_parameter(name, other) for other in seen if not (rule.repeated and other == name)):
                yield Mismatch(field=f"query.{shown(name)}", expected="at most once", got="more than once")
            elif not rule.encoded and encoded_twice(value):
                yield _twice(name)
            elif rule.values is not None and value not in rule.values:
                yield Mismatch(field=f"query.{shown(name)}", expected=some_of(rule.values), got=shown(value))
            if rule is not None:
                seen.add(name)
        for name in self.required:
            if name not in seen:
                yield Mismatch(field=f"query.{shown(name)}", expected="present", got="absent")

    def names(self, call: Call, given: "GivenQuery") -> bool:
        """Whether the call, whose query is `given`, is what a denial on its path names.

        Each listed parameter comes, under any name that some servers take for it, with one of its values, however often
        encoded, with "+" as a space or as itself, whatever else comes: a denial without query rules names every query,
        and neither a further nor a repeated parameter slips past it. It also names the opening of a WebSocket, and
        nothing else if it says `websocket`.
        """
        return (call.websocket or not self.operation.websocket) and all(
            any(
                rule.values is None or not rule.values.isdisjoint(value_readings(value)) for value in given.values(name)
            )
            for name, rule in self.query.items()
        )


def _twice(name: str) -> Mismatch:
    return Mismatch(field=f"query.{shown(name)}", expected="encoded once", got="encoded twice")


def prepare(operation: Operation) -> PreparedOperation:
    """Make an operation ready to compare.

    Raises:
        Rejected(CONFIG_INVALID): its template is none, or its body rule contradicts itself.
    """
    return PreparedOperation(
        operation=operation,
        template=parse_template(operation.template),
        query={rule.name: rule for rule in operation.query},
        required=tuple(sorted(rule.name for rule in operation.query if rule.required)),
        body=prepare_body(operation.body),
    )
