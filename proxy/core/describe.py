"""A cluster in plain words, for the sponsor who is about to sign for it."""

from collections.abc import Iterable

from proxy.core.model import Cluster, Operation, QueryRule, Risk
from proxy.core.shown import shown

_RISKS = {
    Risk.ROUTINE: "routine",
    Risk.TRANSFORMATIVE: "transformative: it changes things, so every request and every release is signed",
}


def describe_cluster(cluster: Cluster) -> tuple[str, ...]:
    """What the cluster permits and on which terms, one sentence each. Whatever `normalised` holds is said."""
    hosts = [f"everything below {host.name}" if host.wildcard else host.name for host in cluster.hosts]
    ports = [str(port) for port in sorted(cluster.ports)]
    networks = [str(network) for network in cluster.addresses]
    operations = sorted(cluster.operations, key=lambda operation: operation.name)
    where = f"{_or(cluster.schemes)} to {_or(hosts)}, port {_or(ports)}"
    inside = _or(networks) or "the public internet"
    return (
        f"It reaches {where}." if hosts and ports and cluster.schemes else "It reaches nothing.",
        f"The hosts must lie inside {inside}.",
        *(f"It permits {operation_words(operation)}." for operation in operations),
        *(() if operations else ("It permits no operation.",)),
        f"Its risk is {_RISKS[cluster.risk]}.",
        f"A call must come with at least {cluster.proof.label} proof.",
        _review_words(cluster),
    )


def operation_words(operation: Operation) -> str:
    """`read-invoice: GET /v1/invoices/{id} without a query`."""
    opens = ", only to open a WebSocket" if operation.websocket else ""
    methods = _or(operation.methods) or "no method"
    return f"{operation.name}: {methods} {operation.template} {_query_words(operation)}{opens}"


def _query_words(operation: Operation) -> str:
    if operation.any_query:
        return "with any query"
    if not operation.query:
        return "without a query"
    return "with query " + "; ".join(_rule_words(rule) for rule in sorted(operation.query, key=lambda rule: rule.name))


def _rule_words(rule: QueryRule) -> str:
    values = "any value" if rule.values is None else _or([value or '""' for value in rule.values]) or "no value"
    encoded = ", also encoded twice" if rule.encoded else ""
    return f"{shown(rule.name)} ({values}{', required' if rule.required else ''}{encoded})"


def _review_words(cluster: Cluster) -> str:
    review = cluster.review
    held = "Every call is held" if review.always else "A call outside the mandate is held"
    who = f"for {_or(review.who, ordered=True)}" if review.who else "but nobody may release it"
    return f"{held} {who}, at most {review.ttl_s} seconds; the connection waits {review.wait_s} seconds."


def _or(texts: Iterable[str], *, ordered: bool = False) -> str:
    """`a, b or c`; nothing for none."""
    names = [shown(text) for text in (texts if ordered else sorted(texts))]
    return " or ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
