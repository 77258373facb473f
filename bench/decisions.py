"""How long one decision takes, for policies of any size: `proxy.core.decide.decide`, in process and warm.

    python -m bench.decisions RULES     # builds, says what that took, then measures a block for each line it reads

The arrangement is the hard one for an index: every rule is for the same host, all permissions are in the three
clusters the mandate names, and every tenth rule is an explicit denial, which must be asked of every call. The mandate
itself is the same small one at every size: a chain of two links, three clusters, three operations of each.
"""

import gc
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import identities

from bench.children import Child
from bench.failures import Failed
from bench.machine import Cores
from bench.spread import Spread, percentile
from proxy.core.addresses import OwnSurfaces
from proxy.core.canonical import Limits, canonicalise
from proxy.core.clusters import Policy, compile_policy
from proxy.core.control import ControlView
from proxy.core.decide import Question, decide
from proxy.core.encoding import sha256_b64u
from proxy.core.model import (
    Bundle,
    Cluster,
    DenyRule,
    Evidence,
    HostPattern,
    Intent,
    Operation,
    Proof,
    QueryRule,
    RuleRef,
    Verdict,
)
from proxy.core.verify import Lifetimes, verify_chain

SIZES = (10, 1_000, 10_000, 100_000)
CALLS = 2_000  # distinct ones
BUILD_S = 180.0

_CLUSTERS = 3
_GRANTED = 3  # operations of each cluster


# --- the world -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A policy of some size, questions about it, and what building it took."""

    questions: tuple[Question, ...]
    compile_s: float
    policy_mb: float  # resident memory of the bundle and its index together


def make_bundle(rules: int) -> Bundle:
    """`rules` rules: nine of ten permit an operation, one denies some."""
    denials = max(1, rules // 10)
    clusters = [_cluster(place, (rules - denials + place) // _CLUSTERS) for place in range(_CLUSTERS)]
    deny = tuple(_denial(place) for place in range(denials))
    return replace(identities.bundle(clusters=clusters), deny=deny)


def _cluster(place: int, size: int) -> Cluster:
    listed = [
        identities.operation(
            f"op-{number}",
            template=f"/v{place}/area-{number}/items/{{id}}",
            query=(QueryRule(name="page"), QueryRule(name="status", values=frozenset({"open", "paid"}))),
        )
        for number in range(size)
    ]
    small = identities.cluster(f"cluster-{place}", operations=listed[:_GRANTED])
    # Nothing here reads the digest but to compare it; computing it over so many operations is the loader's work.
    return replace(small, operations=tuple(listed), digest=sha256_b64u(small.id.encode()))


def _denial(place: int) -> DenyRule:
    at = RuleRef(id=f"deny-{place}", file="clusters.yaml", line=place + 1)
    return DenyRule(
        id=at.id,
        description="",
        hosts=(HostPattern(name=identities.HOST),),
        ports=frozenset(),
        schemes=frozenset(),
        operations=(identities.operation(f"op-{place}", template=f"/closed-{place}/{{rest:rest}}"),),
        at=at,
    )


def make_questions(policy: Policy) -> Iterator[Question]:
    """`CALLS` different calls that are all allowed, spread over what the mandate grants."""
    bundle = policy.bundle
    granted = {cluster.id: [op.name for op in _spread(cluster)] for cluster in bundle.clusters.values()}
    grants = [identities.grant(cluster, actions=granted[cluster.id]) for cluster in bundle.clusters.values()]
    tokens = identities.chain(identities.draft(grants=grants))
    mandate = verify_chain(tokens, bundle, lifetimes=Lifetimes(), now=identities.NOW)
    key, limits = mandate.leaf.cnf.kid, Limits()
    leg = replace(identities.leg(), tunnel=(identities.HOST, 443), inner_tls=True, sni=identities.HOST)
    templates = [(cluster.id, op.template) for cluster in bundle.clusters.values() for op in _spread(cluster)]
    for number in range(CALLS):
        cluster, template = templates[number % len(templates)]
        query = ("", f"?page={number}", f"?page={number}&status=open")[number // len(templates) % 3]
        target = f"https://{identities.HOST}{template.replace('{id}', str(number))}{query}"
        yield Question(
            decision_id=f"d-{number}",
            now=identities.NOW + timedelta(seconds=1),
            policy=policy,
            view=ControlView(),
            own=OwnSurfaces(ports=frozenset({8080})),
            grace_s=Lifetimes().grace_s,
            intent=Intent(cluster=cluster, task=identities.TASK, step=number),
            call=canonicalise(identities.received("GET", target), leg, limits),
            mandate=mandate,
            evidence=Evidence(proof=Proof.REQUEST, keyid=key, created=identities.NOW, nonce=f"n-{number}"),
        )


def _spread(cluster: Cluster) -> tuple[Operation, ...]:
    """A few operations from all over a cluster: the first, the middle one, the last."""
    last = len(cluster.operations) - 1
    return tuple(cluster.operations[place] for place in sorted({0, last // 2, last})[:_GRANTED])


def build(rules: int) -> Built:
    """Build a policy of `rules` rules and the questions about it."""
    gc.collect()
    before_mb = _resident_mb()
    bundle = make_bundle(rules)
    started_s = time.perf_counter()
    policy = compile_policy(bundle)
    compile_s = time.perf_counter() - started_s
    gc.collect()
    policy_mb = _resident_mb() - before_mb
    return Built(questions=tuple(make_questions(policy)), compile_s=compile_s, policy_mb=policy_mb)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(questions: Sequence[Question], count: int) -> list[float]:
    """Microseconds of `count` decisions, in ascending order.

    Raises:
        Failed: one of them was not an allow, so it is not what was meant to be measured.
    """
    taken_us = []
    for number in range(count):
        question = questions[number % len(questions)]
        started_ns = time.perf_counter_ns()
        decision = decide(question)
        taken_us.append((time.perf_counter_ns() - started_ns) / 1000)
        if decision.verdict is not Verdict.ALLOW:
            raise Failed(f"{question.decision_id} was decided {decision.verdict.value}: {decision.message}")
    return sorted(taken_us)


def main(rules: int) -> None:
    built = build(rules)
    for question in built.questions:
        decide(question)  # warm
    print(json.dumps({"compile_s": built.compile_s, "policy_mb": built.policy_mb}), flush=True)
    for line in sys.stdin:
        try:
            taken_us = measure(built.questions, json.loads(line)["measure"])
        except Failed as fault:
            print(json.dumps({"failed": str(fault)}), flush=True)
            continue
        print(json.dumps({"p50_us": percentile(taken_us, 50), "p99_us": percentile(taken_us, 99)}), flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One size."""

    p50_us: Spread
    p99_us: Spread
    compile_s: float
    policy_mb: float


class Deciders:
    """One process for each size, building as soon as it is made; blocks of all sizes are interleaved."""

    def __init__(self, sizes: Sequence[int], folder: Path) -> None:
        words = [sys.executable, "-m", "bench.decisions"]
        self._children = {
            size: Child(f"decide-{size}", [*words, str(size)], folder=folder) for size in sorted(sizes, reverse=True)
        }

    def measure(self, *, blocks: int, count: int, cores: Cores) -> Mapping[int, Decided]:
        """`blocks` blocks of `count` decisions for each size, all on the core of the proxies, one after the other.

        Raises:
            Failed: a process broke, or a decision was not what it should be.
        """
        built = {size: child.answer(within_s=BUILD_S) for size, child in self._children.items()}
        found: dict[int, list[tuple[float, float]]] = {size: [] for size in built}
        for child in self._children.values():
            cores.pin(child.pid, cores.proxies)
        for _ in range(blocks):
            for size, child in self._children.items():
                said = child.ask({"measure": count})
                found[size].append((said["p50_us"], said["p99_us"]))
        return {
            size: Decided(
                p50_us=Spread.of([p50 for p50, _ in found[size]]),
                p99_us=Spread.of([p99 for _, p99 in found[size]]),
                compile_s=built[size]["compile_s"],
                policy_mb=built[size]["policy_mb"],
            )
            for size in sorted(found)
        }

    def end(self) -> None:
        for child in self._children.values():
            child.end()


if __name__ == "__main__":
    main(int(sys.argv[1]))
