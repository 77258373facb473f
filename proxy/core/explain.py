"""A decision in plain words: for reviewers, `intent-proxy explain` and the journal's readers, never for the agent."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from proxy.core.bodies.reading import Reading
from proxy.core.bodies.told import body_told
from proxy.core.clusters import Policy
from proxy.core.describe import describe_cluster as describe_cluster
from proxy.core.differences import cluster_difference
from proxy.core.errors import Code
from proxy.core.hiding import masked_path
from proxy.core.matching import PreparedOperation
from proxy.core.model import Call, Decision, Mandate, Mismatch, Nearest, RuleRef, Verdict
from proxy.core.placewords import place_words
from proxy.core.shown import shown
from proxy.core.spans import span

_WORDS = {Verdict.ALLOW: "Allowed", Verdict.HOLD: "Held", Verdict.DENY: "Denied"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a call was decided so. Each string is one plain sentence or phrase of printable text."""

    verdict: str
    rule: str | None  # "supplier-invoices.read-invoice (clusters.yaml:7)"
    failed: tuple[str, ...]  # each condition that did not hold: expected and got
    near: tuple[str, ...]  # granted operations that came near, and what each lacked
    changes: tuple[str, ...]  # how the cluster differs from what the sponsor approved
    next_step: str  # what a person can do about it
    credential: str = ""  # what the proxy sets on the call as it leaves

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, in the order to read."""
        rule = () if self.rule is None else (f"Rule: {self.rule}",)
        sections = (("Failed", self.failed), ("Near", self.near), ("Changed since approval", self.changes))
        listed = (f"{title}: {item}" for title, items in sections for item in items)
        credential = (f"Credential: {self.credential}",) if self.credential else ()
        return (self.verdict, *rule, *listed, *credential, self.next_step)


def explain(decision: Decision, call: Call, policy: Policy, mandate: Mandate | None) -> Explanation:
    """Why `decision` was made on `call`. `policy` and `mandate` are those it was made under.

    Without the mandate, as for a reviewer, the decision's own record of it is used.
    """
    return Explanation(
        verdict=f"{_WORDS[decision.verdict]}: {_asked(call)} ({decision.code.value}): {decision.message}.",
        rule=None if decision.rule is None else _place(decision.rule),
        failed=tuple(_condition(item) for item in decision.failed),
        near=tuple(_near(item) for item in decision.nearest),
        changes=tuple(_changes(decision, policy, mandate)),
        next_step=_next_step(decision, mandate),
        credential="" if decision.credential is None else f"the proxy sends {decision.credential.words}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AsRead:
    """How a call was understood. For whoever sent it: it tells the query, which may hold what others need not read."""

    asked: str  # method and canonical URL
    query: tuple[tuple[str, str], ...]  # as rules compare it: decoded once
    operation: str | None  # "read-invoice of cluster supplier-invoices (clusters.yaml:7)"; None: nothing covers it
    template: str | None
    captured: tuple[tuple[str, str], ...]  # what each parameter of the template stands for, as it stands in the path
    body: tuple[str, ...]  # what the operation's rule sees in the body

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, in the order to read."""
        where = "; ".join(f"{name} is {shown(value)}" for name, value in self.captured)
        query = "; ".join(f"{shown(name)} is {shown(value)}" for name, value in self.query)
        sections = (
            ("Read as", self.asked),
            ("Query", query),
            ("Operation", self.operation or ""),
            ("Path", f"{self.template}{', where ' if where else ''}{where}" if self.template else ""),
            ("Body", "; ".join(self.body)),
        )
        return tuple(f"{title}: {text}" for title, text in sections if text)


def as_read(decision: Decision, reading: Reading, policy: Policy) -> AsRead:
    """How a call was understood when `decision` was made on it under `policy`; `reading` is of the same caps."""
    call = reading.call
    prepared = _covering(decision, policy)
    opens = " to open a WebSocket" if call.websocket else ""
    read = AsRead(
        asked=f"{call.method} {call.url}{opens}",
        query=call.parameters,
        operation=None,
        template=None,
        captured=(),
        body=(),
    )
    if prepared is None:
        return read
    operation, template = prepared.operation, prepared.template
    return replace(
        read,
        operation=f"{operation.name} of cluster {decision.cluster} ({operation.at.file}:{operation.at.line})",
        template=template.text,
        captured=tuple(template.captured(call.segments).items()),
        body=body_told(operation.body, reading),
    )


def _covering(decision: Decision, policy: Policy) -> PreparedOperation | None:
    compiled = policy.clusters.get(decision.cluster or "")
    operations = () if compiled is None else compiled.operations
    return next((each for each in operations if each.operation.name == decision.operation), None)


def consequence(decision: Decision, call: Call, mandate: Mandate | None) -> str:
    """One sentence for a reviewer: what would happen on release, and why it was not simply allowed.

    `invoice-bot wants to DELETE /v1/customers/42 on erp.example; its mandate allows only GET there.`
    """
    who = (decision.agent or "A caller without a mandate") if mandate is None else mandate.agent.id
    return (
        f"{who} wants to {call.method} {shown(masked_path(call.path))} on {place_words(call)}; {_objection(decision)}."
    )


def _objection(decision: Decision) -> str:
    if decision.code is not Code.NOT_COVERED or not decision.nearest:
        return decision.message.rstrip(".")
    failed = {item.field: item for item in decision.nearest[0].failed}
    if failed.keys() & {"host", "port", "scheme", "address", "location"}:
        return "its mandate does not reach that place"
    if "path" in failed:
        return f"the nearest its mandate allows there is {failed['path'].expected}"
    if "method" in failed:
        return f"its mandate allows only {failed['method'].expected} there"
    if "action" in failed:
        return f"of that cluster its mandate allows only {failed['action'].expected}"
    wanted = [
        item.expected if name in ("query", "websocket") else f"{name} {item.expected}" for name, item in failed.items()
    ]
    return f"its mandate allows that only with {'; '.join(wanted)}"


def _asked(call: Call) -> str:
    """The call without its query, which may hold what nobody needs to read here."""
    return f"{call.method} {call.origin}{shown(masked_path(call.path))}{' with a query' if call.query else ''}"


def _place(rule: RuleRef) -> str:
    return f"{rule.id} ({rule.file}:{rule.line})"


def _condition(item: Mismatch) -> str:
    """What was expected and got; where nothing was got, `expected` is a whole sentence (`Rejected.detail`)."""
    return f"{item.field}: expected {item.expected}, got {item.got}" if item.got else f"{item.field}: {item.expected}"


def _near(item: Nearest) -> str:
    lacked = "; ".join(_condition(failed) for failed in item.failed) or "nothing failed in it"
    return f"{item.cluster}, operation {item.operation} ({item.rule.file}:{item.rule.line}): {lacked}"


def _changes(decision: Decision, policy: Policy, mandate: Mandate | None) -> Iterator[str]:
    current = policy.clusters.get(decision.cluster or "")
    if decision.code is not Code.CLUSTER_CHANGED or current is None:
        return
    if mandate is None:
        digests = [item.expected for item in decision.failed if item.field == "digest"]
    else:
        digests = [grant.digest for grant in mandate.leaf.grants if grant.cluster == decision.cluster]
    for digest in digests:
        approved = policy.pins.get(digest)
        if approved is None:
            yield "the text the sponsor approved is lost"
        else:
            yield from cluster_difference(approved.cluster, current.cluster)


def _next_step(decision: Decision, mandate: Mandate | None) -> str:
    if decision.verdict is Verdict.ALLOW:
        return "Nothing to do."
    if decision.verdict is Verdict.DENY:
        return "No release can change this."
    who = " or ".join(decision.review.who)
    sponsor = decision.sponsor if mandate is None else mandate.sponsor.id
    signer = f" ({sponsor} is the sponsor)" if sponsor is not None else ""
    several = f"{decision.review.quorum} of " if decision.review.quorum > 1 else ""
    return f"May be released by {several}{who}{signer} within {span(decision.review.ttl_s)}; it then passes once."
