"""A cluster in plain words, for the sponsor who is about to sign for it."""

from proxy.core.bodies.words import body_words
from proxy.core.credential import Credential
from proxy.core.model import Cluster, Effect, Operation, QueryRule, Risk
from proxy.core.shown import any_of, shown
from proxy.core.spans import span

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
    where = f"{any_of(cluster.schemes)} to {any_of(hosts)}, port {any_of(ports)}"
    inside = any_of(networks) or "the public internet"
    return (
        f"It reaches {where}." if hosts and ports and cluster.schemes else "It reaches nothing.",
        f"The hosts must lie inside {inside}.",
        *(f"It permits {operation_words(operation)}." for operation in operations),
        *(() if operations else ("It permits no operation.",)),
        f"Its risk is {_RISKS[cluster.risk]}.",
        f"A call must come with at least {cluster.proof.label} proof.",
        *(() if cluster.credential is None else (f"{credential_words(cluster.credential)}.",)),
        _review_words(cluster),
    )


def credential_words(credential: Credential) -> str:
    """`Each call gets the secret erp-token as a bearer token, whatever its agent sent as Authorization`."""
    plain = ", also over plain HTTP, where everybody on the way can read it" if credential.over_http else ""
    return f"Each call gets {credential.words}{plain}, whatever its agent sent as {credential.replaces}"


def operation_words(operation: Operation) -> str:
    """`read-invoice: GET /v1/invoices/{id} without a query`; of a body only what its rule says."""
    opens = ", only to open a WebSocket" if operation.websocket else ""
    methods = any_of(operation.methods) or "no method"
    body = f", {words}" if (words := body_words(operation.body)) else ""
    return f"{operation.name}: {methods} {operation.template} {_query_words(operation)}{opens}{body}"


def _query_words(operation: Operation) -> str:
    if operation.any_query:
        return "with any query"
    if not operation.query:
        return "without a query"
    return "with query " + "; ".join(_rule_words(rule) for rule in sorted(operation.query, key=lambda rule: rule.name))


def _rule_words(rule: QueryRule) -> str:
    values = "any value" if rule.values is None else any_of(rule.values) or "no value"
    flags = ((rule.required, "required"), (rule.repeated, "also repeated"), (rule.encoded, "also encoded twice"))
    return f"{shown(rule.name)} ({', '.join([values, *(words for said, words in flags if said)])})"


def _review_words(cluster: Cluster) -> str:
    review = cluster.review
    held = "Every call is held" if review.always else "A call outside the mandate is held"
    who = f"for {any_of(review.who, ordered=True)}" if review.who else "but nobody may release it"
    if review.quorum > 1:
        who += f", {review.quorum} of whom must release it"
    sent = ""
    if review.effect is Effect.DELIVER:
        key = " with the hold's id as Idempotency-Key" if review.idempotency_key else ""
        sent = f"; once released, the proxy sends it by itself{key}"
    return f"{held} {who}, at most {span(review.ttl_s)}; the connection waits {span(review.wait_s)}{sent}."
