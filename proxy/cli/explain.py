"""`intent-proxy explain`: what would be decided about a call, and why. Nothing is sent and no name is resolved."""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.agents import known_control
from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.exits import Exit
from proxy.cli.screen import BAD, GOOD, WARN, Screen, document
from proxy.cli.where import AsJson, Config, Dev
from proxy.core.addresses import OwnSurfaces, own_by_url
from proxy.core.bodies.coding import BodyCaps
from proxy.core.bodies.reading import Reading
from proxy.core.canonical import canonicalise, with_body
from proxy.core.clusters import Policy, compile_policy
from proxy.core.credential import normal_credential
from proxy.core.decide import Question, decide
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.explain import AsRead, as_read
from proxy.core.explain import explain as in_words
from proxy.core.model import Call, Decision, Evidence, Intent, Leg, Proof, Received, Verdict
from proxy.core.verify import verify_chain
from proxy.policy.chains import lasting, read_chain_file
from proxy.policy.enrolled import agent_in


class Proven(StrEnum):
    """The proof a call is imagined to come with."""

    REQUEST = Proof.REQUEST.label
    TUNNEL = Proof.TUNNEL.label
    MTLS = Proof.MTLS.label
    SESSION = Proof.SESSION.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The call as it was given, before anything read it."""

    method: str
    url: str


_EXITS = {Verdict.ALLOW: Exit.OK, Verdict.HOLD: Exit.WOULD_HOLD, Verdict.DENY: Exit.WOULD_DENY}
_STYLES = {Verdict.ALLOW: GOOD, Verdict.HOLD: WARN, Verdict.DENY: BAD}


def explain(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, …")],
    url: Annotated[str, typer.Argument(metavar="URL", help="The whole URL, as the agent would send it.")],
    agent: Annotated[str, typer.Option(help="The agent that asks.")],
    manifest: Annotated[
        Path | None, typer.Option(help="The manifest it asks under. Else manifests/AGENT.jws.", show_default=False)
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="The cluster it declares. Else none.", show_default=False)] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="'NAME: VALUE'", help="A header. May be given again.", show_default=False),
    ] = None,
    body: Annotated[Path | None, typer.Option(help="A file with the body.", show_default=False)] = None,
    proof: Annotated[Proven, typer.Option(help="How the call proves its mandate.")] = Proven.REQUEST,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Say how a call is read, what would be decided about it, by which rule, and what came near. Nothing is sent.

    No name is resolved either: a call that is allowed here is still refused when
    its host resolves to an address that its cluster does not permit.

    A body is read as its Content-Type says, so give both.

    Exit codes: 0 it would be allowed, 10 held, 11 denied.

    Examples:
      intent-proxy explain GET https://erp.example/v1/invoices/17 \\
        --agent invoice-bot --cluster supplier-invoices
      intent-proxy explain POST https://erp.example/v1/payments \\
        --agent invoice-bot --cluster supplier-payments \\
        --header 'Content-Type: application/json' --body pay.json
    """
    deployment = open_deployment(config)
    policy = compile_policy(deployment.bundle(dev=dev))
    agent_in(policy.bundle, agent)
    question = _question(deployment, policy, agent, manifest, Proof[proof.name], cluster)
    try:
        question = replace(question, call=_call(deployment, method, url, header or [], body))
    except Rejected as fault:
        question = replace(question, ambiguous=fault)
    decision = decide(question)
    given = Given(method=method, url=url)
    if as_json:
        document(_json(given, question, decision))
    else:
        _show(given, question, decision)
    return _EXITS[decision.verdict]


def _question(
    deployment: Deployment, policy: Policy, agent: str, manifest: Path | None, proof: Proof, cluster: str | None
) -> Question:
    """The question, save for the call. A manifest that does not verify is part of it, not a failure."""
    moment, mandate, refusal = now(), None, None
    path = manifest or deployment.manifest_file(agent)
    lifetimes, tokens = lasting(deployment.settings.authority), read_chain_file(path)
    try:
        mandate = verify_chain(tokens, policy.bundle, lifetimes=lifetimes, now=moment)
        if mandate.leaf.sub != agent:
            detail = f"{path} is for {mandate.leaf.sub}, not for {agent}"
            raise Rejected(Code.MANIFEST_SUBJECT, detail, field="sub")
    except Rejected as fault:
        refusal = fault
    evidence = None
    if mandate is not None:
        evidence = Evidence(proof=proof, keyid=mandate.leaf.cnf.kid, created=moment, nonce=None)
    listen, desk = deployment.settings.listen, deployment.settings.desk
    names, place = own_by_url(desk.url)
    return Question(
        decision_id="explain",
        now=moment,
        policy=policy,
        view=known_control(deployment),
        own=OwnSurfaces(ports=frozenset({listen.port, desk.listen.port, *(port for _, port in place)}), names=names),
        grace_s=lifetimes.grace_s,
        call=None,
        mandate=mandate,
        evidence=evidence,
        refusal=refusal,
        intent=Intent(cluster=cluster),
        caps=BodyCaps(decoded_bytes=deployment.settings.request_limits.inspected_bytes),
    )


def _call(deployment: Deployment, method: str, url: str, headers: list[str], body: Path | None) -> Call:
    """The canonical call, read as the proxy reads one in absolute form."""
    limits = deployment.settings.request_limits
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise Rejected(Code.REQUEST_MALFORMED, "expected a whole URL such as https://host/path", field="url")
    end = next((place for place, char in enumerate(rest) if char in "/?#"), len(rest))
    authority, path = rest[:end], rest[end:]
    lines = [("Host", authority), *(_header(line) for line in headers)]
    received = Received(
        method=_bytes(method),
        scheme=scheme,
        form="absolute",
        authority=_bytes(authority),
        target=_bytes(path if path.startswith("/") else f"/{path}"),
        headers=tuple((_bytes(name), _bytes(value)) for name, value in lines),
    )
    call = canonicalise(received, Leg(id="explain", source="127.0.0.1", tls=False, local=True), limits)
    return with_body(call, body.read_bytes(), limits) if body is not None else call


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"expected a header as 'Name: value', got {line!r}")
    return name.strip(), value.strip()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _show(given: Given, question: Question, decision: Decision) -> None:
    screen = Screen()
    style = _STYLES[decision.verdict]
    rest: list[str] = []
    if question.call is not None:
        first, *told = in_words(decision, question.call, question.policy, question.mandate).lines
        rest = [*_as_read(question, question.call, decision).lines, *told]
    else:
        first = f"Denied ({decision.code.value}): {decision.message}."
        if (fault := question.ambiguous) is not None:  # what is amiss with the mandate comes before it
            rest = [f"Cannot be read: {fault.field}: {fault.detail}"]
    screen.say(first, style=style)
    for line in (f"Given: {given.method} {given.url}", *rest):
        screen.say(f"  {line}")


def _as_read(question: Question, call: Call, decision: Decision) -> AsRead:
    return as_read(decision, Reading(call, question.caps), question.policy)


def _read(question: Question, call: Call, decision: Decision) -> Json:
    read = _as_read(question, call, decision)
    return {
        "method": call.method,
        "url": call.url,
        "websocket": call.websocket,
        "query": [[name, value] for name, value in read.query],
        "operation": read.operation,
        "template": read.template,
        "captured": dict(read.captured),
        "body": list(read.body),
    }


def _json(given: Given, question: Question, decision: Decision) -> Json:
    rule, call = decision.rule, question.call
    words = None if call is None else in_words(decision, call, question.policy, question.mandate)
    return {
        "given": {"method": given.method, "url": given.url},
        "read": None if call is None else _read(question, call, decision),
        "verdict": decision.verdict.value,
        "code": decision.code.value,
        "message": decision.message,
        "url": None if call is None else call.url,
        "agent": decision.agent,
        "sponsor": decision.sponsor,
        "manifest": decision.manifest,
        "cluster": decision.cluster,
        "operation": decision.operation,
        "rule": None if rule is None else {"id": rule.id, "file": rule.file, "line": rule.line},
        "failed": [{"field": each.field, "expected": each.expected, "got": each.got} for each in decision.failed],
        "near": [
            {
                "cluster": near.cluster,
                "operation": near.operation,
                "rule": {"id": near.rule.id, "file": near.rule.file, "line": near.rule.line},
                "failed": [{"field": each.field, "expected": each.expected, "got": each.got} for each in near.failed],
            }
            for near in decision.nearest
        ],
        "review": {"who": list(decision.review.who), "ttl_s": decision.review.ttl_s},
        "next_step": None if words is None else words.next_step,
        "credential": None if decision.credential is None else normal_credential(decision.credential),
    }
