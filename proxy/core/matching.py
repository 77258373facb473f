"""What a call is compared with: its destination taken apart once, and operations made ready to compare."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from proxy.core.model import Call, IPAddress, Operation, QueryRule
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
    host = call.host
    literal = ip_address(host) if ":" in host or host.rpartition(".")[2].isdigit() else None
    return Destination(
        origin=call.origin,
        scheme=call.scheme,
        host=host,
        port=call.port,
        above=frozenset(_above(host)) if literal is None else frozenset(),
        literal=literal,
    )


def _above(host: str) -> Iterator[str]:
    _, _, rest = host.partition(".")
    while rest:
        yield rest
        _, _, rest = rest.partition(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedOperation:
    """An operation with its template parsed and its query rules by name."""

    operation: Operation
    template: Template
    query: Mapping[str, QueryRule]
    required: frozenset[str]

    def permits_query(self, parameters: Sequence[tuple[str, str]]) -> bool:
        """Whether the query is what the operation permits: only listed parameters, each at most once, none missing."""
        if self.operation.any_query:
            return True
        seen: set[str] = set()
        for name, value in parameters:
            rule = self.query.get(name)
            if rule is None or name in seen or not (rule.values is None or value in rule.values):
                return False
            seen.add(name)
        return self.required <= seen

    def names_query(self, parameters: Sequence[tuple[str, str]]) -> bool:
        """Whether the query is what a denial names: each listed parameter with one of its values, whatever else comes.

        A denial without query rules names every query. So neither a further nor a repeated parameter slips past it.
        """
        return all(
            any(given == name and (rule.values is None or value in rule.values) for given, value in parameters)
            for name, rule in self.query.items()
        )


def prepare(operation: Operation) -> PreparedOperation:
    """Make an operation ready to compare.

    Raises:
        Rejected(CONFIG_INVALID): its template is none.
    """
    return PreparedOperation(
        operation=operation,
        template=parse_template(operation.template),
        query={rule.name: rule for rule in operation.query},
        required=frozenset(rule.name for rule in operation.query if rule.required),
    )
