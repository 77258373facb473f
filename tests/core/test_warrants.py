"""What is kept of a mandate under a policy: it never changes what is decided, and never outgrows its bound."""

from dataclasses import replace

from identities import AGENT, NOW, cluster, grant, operation
from questions import URL, bundle_of, call, mandate_of, question

from proxy.core.clusters import Policy, compile_policy
from proxy.core.control import Act, ControlView, Statement
from proxy.core.decide import Question, decide
from proxy.core.errors import Code
from proxy.core.model import Bundle, Constraints, QueryRule, Verdict
from proxy.core.warrants import MOST, Warrants

HOUSE = bundle_of(
    cluster("a", operations=[operation("read", methods=["GET", "POST"]), operation("list", template="/v1/invoices")]),
    cluster("b", operations=[operation("narrow", query=(QueryRule(name="page"),))]),
)
ASKED = (
    (URL, "GET", None),
    (URL, "POST", None),
    (URL, "GET", "a"),
    (URL, "GET", "b"),
    (URL, "DELETE", "a"),
    (f"{URL}?page=2", "GET", None),
    (f"{URL}?page=2", "GET", "b"),
    ("https://elsewhere.example/v1/invoices", "GET", None),
    (URL.rpartition("/")[0], "GET", "a"),
)


def questions(bundle: Bundle, policy: Policy) -> list[Question]:
    mandate = mandate_of(bundle, [grant(each) for each in bundle.clusters.values()])
    first = question(bundle=bundle, mandate=mandate)
    return [
        replace(
            first,
            policy=policy,
            call=call(url, method),
            intent=replace(first.intent, cluster=declared),
        )
        for url, method, declared in ASKED
    ]


def test_a_policy_that_was_asked_before_decides_as_one_that_never_was() -> None:
    asked = questions(HOUSE, compile_policy(HOUSE))
    for each in (*asked, *reversed(asked)):
        decide(each)
    for each in asked:
        assert decide(each) == decide(replace(each, policy=compile_policy(HOUSE)))


def test_what_one_call_was_covered_by_is_not_kept_for_another_outside_the_constraints() -> None:
    house = bundle_of(cluster("a", operations=[operation("list", query=(QueryRule(name="page"),))]))
    [there] = house.clusters.values()
    narrowed = grant(there, constraints=Constraints(query={"page": frozenset({"1"})}))
    first = question(bundle=house, mandate=mandate_of(house, [narrowed]))
    first = replace(first, intent=replace(first.intent, cluster=None))
    verdicts = [decide(replace(first, call=call(f"{URL}?page={page}"))).verdict for page in ("1", "2", "1", "2")]
    assert verdicts == [Verdict.ALLOW, Verdict.HOLD, Verdict.ALLOW, Verdict.HOLD]


def test_the_kill_switch_is_told_before_who_is_not_enrolled_however_often_it_is_asked() -> None:
    asked = questions(HOUSE, compile_policy(HOUSE))[0]
    strangers = compile_policy(replace(HOUSE, people={}))
    said = Statement(token="", id="s", by="operator", act=Act.KILL_ON, target="*", reason="", serial=1, at=NOW)
    killed = replace(asked, policy=strangers, view=ControlView().absorb(said))
    for _ in range(2):
        assert decide(killed).code is Code.KILL_SWITCH
        assert decide(replace(asked, policy=strangers)).code is Code.SPONSOR_UNKNOWN
        assert decide(asked).verdict is Verdict.ALLOW


def test_a_mandate_has_one_warrant_for_each_policy_and_no_more_are_kept_than_may_be() -> None:
    policy = compile_policy(HOUSE)
    mandates = [mandate_of(HOUSE, [grant(HOUSE.clusters["a"])], sub=AGENT) for _ in range(3)]
    assert policy.warrant(mandates[0]) is policy.warrant(mandates[0])
    assert compile_policy(HOUSE).warrant(mandates[0]) is not policy.warrant(mandates[0])
    few = Warrants(most=2)
    first = few.of(policy, mandates[0])
    assert few.of(policy, mandates[1]) is not first
    assert few.of(policy, mandates[0]) is first
    assert few.of(policy, mandates[2]).mandate is mandates[2]
    assert few.of(policy, mandates[0]) is not first


def test_of_destinations_without_number_only_so_many_are_kept() -> None:
    house = bundle_of(cluster("a", hosts=["*.example.com"]))
    first = question(bundle=house)
    for number in range(MOST + 1):
        host = f"h{number}.example.com"
        asked = replace(first, call=call(f"https://{host}/v1/invoices/{number}"))
        decide(asked)
    assert first.mandate is not None
    assert len(first.policy.warrant(first.mandate).coverages) == 1


def test_names_that_nobody_granted_fill_nothing() -> None:
    first = questions(HOUSE, compile_policy(HOUSE))[0]
    for number in range(3):
        told = decide(replace(first, intent=replace(first.intent, cluster=f"made-up-{number}")))
        assert told.code is Code.INTENT_NOT_GRANTED
    assert first.mandate is not None
    assert not first.policy.warrant(first.mandate).coverages


def test_what_is_kept_is_no_part_of_a_policy() -> None:
    policy = compile_policy(HOUSE)
    decide(questions(HOUSE, policy)[0])
    assert "warrant" not in repr(policy)
