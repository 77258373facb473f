"""Held calls whose every field holds what somebody hostile wrote, also where the proxy would never let it stand.

What a reader of a held call shows must be harmless whatever was sealed, so nothing here is canonical.
"""

from dataclasses import dataclass, field, replace

from filing import Filer
from reviewrooms import Room

from proxy.core.digest import call_digest
from proxy.core.model import Call, Decision, Hold, Mismatch, Nearest, RuleRef, StoredCall
from proxy.review.desk.app import build_app
from proxy.review.desk.parts import Earlier, Proposed
from proxy.review.opened import HeldCall

FIELDS = (
    "method",
    "host",
    "path",
    "query",
    "header name",
    "header",
    "content type",
    "agent",
    "task",
    "cluster",
    "purpose",
    "message",
    "failed",
    "nearest",
    "rule",
)
"""What is sealed with a call. Body, names, reasons, what was done before and proposals are a page's, beside it."""


def hostile_call(call: Call, texts: dict[str, str]) -> Call:
    """The call with these texts in these fields."""
    headers = list(call.headers)
    if "content type" in texts:
        headers = [("Content-Type", texts["content type"])]
    if "header" in texts:
        headers.append(("X-Note", texts["header"]))
    if "header name" in texts:
        headers.append((texts["header name"], "x"))
    query = texts.get("query", call.query)
    return replace(
        call,
        method=texts.get("method", call.method),
        host=texts.get("host", call.host),
        path=f"/{texts['path']}" if "path" in texts else call.path,
        query=query,
        has_query=bool(query),
        headers=tuple(headers),
    )


def hostile_decision(decision: Decision, texts: dict[str, str]) -> Decision:
    """The decision with these texts in these fields."""
    intent = replace(
        decision.intent,
        task=texts.get("task", decision.intent.task),
        cluster=texts.get("cluster", decision.intent.cluster),
    )
    failed, rule, near = decision.failed, decision.rule, decision.nearest
    if "failed" in texts:
        failed = (Mismatch(field=texts["failed"], expected=texts["failed"], got=texts["failed"]),)
    if "rule" in texts:
        rule = RuleRef(id=texts["rule"], file=texts["rule"], line=1)
    if "nearest" in texts:
        text = texts["nearest"]
        where = RuleRef(id=text, file=text, line=1)
        near = (
            Nearest(cluster=text, operation=text, rule=where, failed=(Mismatch(field=text, expected="x", got=text),)),
        )
    return replace(
        decision,
        agent=texts.get("agent", decision.agent),
        cluster=texts.get("cluster", decision.cluster),
        purpose=texts.get("purpose", decision.purpose),
        message=texts.get("message", decision.message),
        intent=intent,
        failed=failed,
        rule=rule,
        nearest=near,
    )


@dataclass(kw_only=True)
class HostileFiler(Filer):
    """Files calls with these texts in their fields."""

    texts: dict[str, str] = field(default_factory=dict)

    def stored(self, *args: object, **named: object) -> StoredCall:
        found = super().stored(*args, **named)  # type: ignore[arg-type]
        call, decision = hostile_call(found.call, self.texts), hostile_decision(found.decision, self.texts)
        digest = call_digest(
            call,
            deployment=self.bundle.deployment,
            root_id=decision.manifest or "",
            sub_path=found.sub_path,
            cluster=decision.intent.cluster or "",
            task=decision.intent.task or "",
            keyed_hash=self.vault.keyed_hash,
        )
        return replace(found, call=call, decision=decision, call_digest=digest, chain=())  # judged by its record alone


@dataclass(kw_only=True)
class HostileRoom(Room):
    """A desk of hostile calls. `said` stands in what the agent did before, and in proposals."""

    said: str = "said"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {name: getattr(self.filer, name) for name in ("holds", "vault", "bundle", "tokens", "now")}
        self.filer: HostileFiler = HostileFiler(**given)
        self.parts = replace(self.parts, propose=self._propose)
        self.app = build_app(self.parts)

    def named(self, text: str) -> None:
        """Everybody is called so."""
        people = {each.id: replace(each, name=text, role=text) for each in self.bundle.people.values()}
        self.bundle = replace(self.bundle, people=people)

    async def hostile(self, texts: dict[str, str], **about: object) -> Hold:
        """A held call with these texts in it."""
        self.filer.texts = texts
        return await self.filer.file("https://erp.example/v1/customers/42", **{"method": "GET", **about})  # type: ignore[arg-type]

    def _propose(self, held: HeldCall) -> Proposed:
        return Proposed(where=self.said, lines=(self.said, f"- {self.said}"), then=(self.said,))

    async def _earlier(self, held: HeldCall) -> tuple[Earlier, ...]:
        return (Earlier(at=self.time(), what="allow", asked=self.said, why=self.said),)
