"""The other verbs of `holds`, and `grants`, on a real Valkey."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from clirun import cli
from filing import Filer
from offices import Office
from valkeys import Valkey

from proxy.cli.exits import Exit
from proxy.core.errors import Code, Unavailable
from proxy.core.holds import Event
from proxy.core.model import Hold, HoldState
from proxy.ports import Moved
from proxy.stores.redis_grants import RedisGrants
from proxy.stores.redis_holds import RedisHolds


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey(appendfsync="no") as server:
        yield server


@pytest.fixture
def office(home: Path, valkey: Valkey) -> Office:
    valkey.flush()
    settings = home / "proxy.yaml"
    settings.write_text(settings.read_text() + f"\nredis_url: {valkey.url}\n")
    return Office(home=home, valkey=valkey)


ITEMS = "https://erp.example/v1/items"


# --- saying something ------------------------------------------------------------------------------------------------


def test_a_deputy_releases_once_it_is_escalated(office: Office) -> None:
    hold = office.file()
    ran = cli("holds", "release", hold.id, "--as", "ben")
    assert (ran.code, "the sponsor comes first" in ran.err) == (Exit.NOT_PERMITTED, True)
    assert cli("holds", "escalate", hold.id, "--as", "ben", "--reason", "mine").code == Exit.NOT_PERMITTED
    cli("holds", "escalate", hold.id, "--as", "ada", "--reason", "on the train").ok()
    shown = cli("holds", "show", hold.id).ok().out
    assert "may release  ada, ben" in shown and "ada, escalate: on the train" in shown
    assert cli("holds", "release", hold.id, "--as", "ben").ok().out.startswith("released by ben")


def test_comments_and_extensions_are_shown_and_bounded(office: Office) -> None:
    hold = office.file()
    cli("holds", "comment", hold.id, "--as", "ben", "--text", "asked the supplier").ok()
    ran = cli("holds", "extend", hold.id, "--as", "ada", "--by", "2h", "--reason", "they answer at four").ok()
    assert "extended by ada" in ran.out and "It waits until" in ran.out
    shown = cli("holds", "show", hold.id, "--json").ok().json
    assert [(one["by"], one["event"], one["reason"]) for one in shown["said"]] == [
        ("ben", "comment", "asked the supplier"),
        ("ada", "extend", "they answer at four"),
    ]
    assert office.hold(hold.id).expires_at == hold.expires_at.replace(microsecond=0) + timedelta(hours=2)
    ran = cli("holds", "extend", hold.id, "--as", "ada", "--by", "3d", "--reason", "later")
    assert (ran.code, "holds.max_ttl" in ran.err) == (Exit.REFUSED, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(("extend", "--as", "ada", "--reason", "x", "--by", "9999999d"), Exit.CANNOT_TELL, id="for ever"),
        pytest.param(("extend", "--as", "ada", "--reason", "x", "--by", "36500d"), Exit.REFUSED, id="for a century"),
        pytest.param(("extend", "--as", "ada", "--reason", "x", "--by", "0s"), Exit.CANNOT_TELL, id="by nothing"),
        pytest.param(("wait", "--timeout", "0s"), Exit.CANNOT_TELL, id="waiting for no time"),
        pytest.param(("release", "--scope", "route", "--for", "0s"), Exit.CANNOT_TELL, id="granting no time"),
        pytest.param(("extend", "--as", "ada", "--reason", "x", "--by", "1s"), Exit.OK, id="the twin: by a second"),
    ],
)
def test_a_time_is_one_that_can_be(office: Office, words: tuple[str, ...], code: int) -> None:
    hold = office.file()
    assert cli("holds", words[0], hold.id, *words[1:]).code == code
    later = office.hold(hold.id).expires_at > hold.expires_at
    assert later is (code == Exit.OK)


def test_a_call_is_cancelled_and_a_denial_lifted(office: Office) -> None:
    hold = office.file()
    cli("holds", "cancel", hold.id, "--as", "ada", "--reason", "withdrawn").ok()
    gone = cli("holds", "show", hold.id, "--save-body", office.home / "body")
    assert (gone.code, "no body to save" in gone.err) == (Exit.REFUSED, True)
    assert office.hold(hold.id).state is HoldState.CANCELLED
    again = office.file()
    cli("holds", "deny", again.id, "--as", "ada", "--reason", "no").ok()
    cli("holds", "lift", again.id, "--as", "ada", "--reason", "it was right").ok()
    assert office.file().id != again.id
    assert cli("holds", "lift", "nothing", "--as", "ada", "--reason", "x").code == Exit.UNKNOWN


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(("release", "--reason", "x"), Exit.OK, id="released"),
        pytest.param(("deny", "--reason", "x"), Exit.REFUSED, id="denied"),
        pytest.param(("cancel", "--reason", "x"), Exit.REFUSED, id="cancelled"),
    ],
)
def test_waiting_ends_as_the_hold_does(office: Office, words: tuple[str, ...], code: int) -> None:
    hold = office.file()
    cli("holds", words[0], hold.id, "--as", "ada", *words[1:]).ok()
    assert cli("holds", "wait", hold.id).code == code
    assert cli("holds", "wait", hold.id, "--json").json["id"] == hold.id
    assert cli("holds", "wait", "nothing").code == Exit.UNKNOWN


def test_waiting_has_an_end(office: Office) -> None:
    hold = office.file()
    late = cli("holds", "wait", hold.id, "--timeout", "1s")
    assert (late.code, "nobody decided" in late.err, "it still waits" in late.err) == (Exit.UNAVAILABLE, True, True)


# --- nobody knows whether it arrived ---------------------------------------------------------------------------------


def lose(office: Office, url: str = ITEMS) -> Hold:
    """A call that was released and left, and of which nobody knows more."""
    hold = office.file(url)
    cli("holds", "release", hold.id, "--as", "ada").ok()

    async def send(_: Filer, holds: RedisHolds) -> Hold:
        claimed = (await holds.apply(hold.id, Event.CLAIM, worker="w/1")).hold
        return (await holds.apply(hold.id, Event.LOST, fence=claimed.fence, worker="w/1")).hold

    return office.use(send)


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        pytest.param("--arrived", HoldState.RELEASED, "it arrived", id="it arrived"),
        pytest.param("--not-arrived", HoldState.CANCELLED, "it did not arrive", id="it did not"),
    ],
)
def test_a_person_says_what_became_of_an_uncertain_call_once(
    office: Office, found: str, state: HoldState, said: str
) -> None:
    hold = lose(office)
    assert hold.state is HoldState.UNCERTAIN
    words = ("holds", "resolve", hold.id, found)
    assert cli(*words, "--as", "ada").code == Exit.CANNOT_TELL, "how they know is needed"
    assert cli("holds", "resolve", hold.id, "--as", "ada", "--reason", "x").code == Exit.CANNOT_TELL, "and what"
    assert cli(*words, "--as", "ben", "--reason", "asked").code == Exit.NOT_PERMITTED
    assert office.hold(hold.id) == hold
    ran = cli(*words, "--as", "ada", "--reason", "asked the supplier").ok()
    assert ran.out.startswith(f"resolved by ada: {said}")
    now = office.hold(hold.id)
    assert (now.state, now.decided_by, now.reason) == (state, "ada", "asked the supplier")
    again = cli(*words, "--as", "ada", "--reason", "asked again", "--json")
    assert (again.code, again.json["result"]) == (Exit.DECIDED, "already decided")
    assert office.file(ITEMS).id != hold.id, "asked for again, it is held anew"
    assert cli("holds", "resolve", "nothing", found, "--as", "ada", "--reason", "x").code == Exit.UNKNOWN


def test_only_what_is_uncertain_is_resolved_and_what_is_uncertain_only_so(office: Office) -> None:
    held, lost = office.file(f"{ITEMS}/1"), lose(office, f"{ITEMS}/2")
    ran = cli("holds", "resolve", held.id, "--arrived", "--as", "ada", "--reason", "x")
    assert (ran.code, "is held: only of an uncertain call" in ran.err) == (Exit.DECIDED, True)
    for verb in ("release", "deny", "cancel"):
        ran = cli("holds", verb, lost.id, "--as", "ada", "--reason", "x")
        assert (ran.code, "`holds resolve` closes it" in ran.err) == (Exit.DECIDED, True), verb
    ran = cli("holds", "wait", lost.id)
    assert (ran.code, ran.out) == (Exit.CANNOT_TELL, f"{lost.id} is uncertain, released by ada\n")
    assert (office.hold(held.id), office.hold(lost.id)) == (held, lost)


def test_an_uncertain_call_says_what_to_do_and_is_listed_first(office: Office) -> None:
    lost = lose(office)
    waiting = office.file(f"{ITEMS}/1")
    listed = cli("holds", "list").ok()
    assert "1 call is uncertain" in listed.err
    assert [each["id"] for each in cli("holds", "list", "--json").ok().json] == [lost.id, waiting.id]
    (first,) = cli("holds", "list", "--limit", "1", "--json").ok().json
    assert first["id"] == lost.id, "newer ones do not push it out"
    (only,) = cli("holds", "list", "--state", "uncertain", "--json").ok().json
    assert (only["id"], only["state"]) == (lost.id, "uncertain")
    assert cli("holds", "list", "--state", "held", "--all").code == Exit.CANNOT_TELL
    shown = cli("holds", "show", lost.id).ok().out
    for line in (
        "state        uncertain, released by ada at ",
        "expires      never",
        "may resolve  ada",
        "Nobody knows whether it arrived",
        f"intent-proxy holds resolve {lost.id} --not-arrived --reason ",
        "What may have been sent",
    ):
        assert line in shown, line
    assert "What would be sent" not in shown
    assert any("holds resolve" in line for line in cli("holds", "show", lost.id, "--json").ok().json["to_do"])
    cli("holds", "resolve", lost.id, "--arrived", "--as", "ada", "--reason", "it is in their log").ok()
    assert "uncertain" not in cli("holds", "list").ok().err
    twin = cli("holds", "show", waiting.id).ok().out
    assert "may release  ada" in twin and "What would be sent" in twin and "resolve" not in twin
    assert cli("holds", "show", waiting.id, "--json").ok().json["to_do"] == []


# --- several must ----------------------------------------------------------------------------------------------------


def test_the_first_of_two_is_exit_8_and_the_second_releases(office: Office) -> None:
    clusters = office.home / "clusters.yaml"
    text = clusters.read_text().replace("    operations:", "    review: {quorum: 2}\n    operations:")
    clusters.write_text(text)
    cli("bundle", "sign").ok()
    hold = office.file("https://erp.example/v1/other", cluster="erp-example-443")
    first = cli("holds", "release", hold.id, "--as", "ada")
    assert (first.code, "1 of 2: 1 more must" in first.out) == (Exit.SIGNED, True)
    assert "released by  ada" in cli("holds", "show", hold.id).ok().out
    assert cli("holds", "release", hold.id, "--as", "ada").code == Exit.NOT_PERMITTED
    assert cli("holds", "release", hold.id, "--as", "ben").ok().out.startswith("released by ada and ben")


# --- groups ----------------------------------------------------------------------------------------------------------


def test_alike_holds_are_decided_together_after_a_preview(office: Office) -> None:
    alike = [office.file(f"{ITEMS}/{number}") for number in range(3)]
    other = office.file("https://erp.example/v1/salaries")
    groups = cli("holds", "group", "--json").ok().json
    assert [(len(each["holds"]), each["route"]) for each in groups] == [
        (3, f"{ITEMS}/*"),
        (1, "https://erp.example/v1/salaries"),
    ]
    assert f"GET {ITEMS}/*" in cli("holds", "group").ok().out
    named = groups[0]["id"]
    refused = cli("holds", "group", named, "deny", "--as", "ada", "--reason", "no")
    assert (refused.code, "say --yes to deny 3 holds" in refused.err) == (Exit.NOT_PERMITTED, True)
    assert "deny: 3 held calls of robot, mandate.not_covered" in refused.out
    assert cli("holds", "group", named, "release", "--as", "ada", "--yes").code == Exit.REFUSED, "no reason"
    ran = cli("holds", "group", named, "release", "--as", "ada", "--reason", "stock-taking", "--yes").ok()
    assert "release: 3 of 3" in ran.out
    found = [office.hold(hold.id) for hold in alike]
    assert {hold.state for hold in found} == {HoldState.APPROVED}
    assert len({hold.statement for hold in found}) == 3, "every digest is signed"
    assert office.hold(other.id).state is HoldState.HELD


def test_a_group_that_cannot_be_decided_whole_says_so(office: Office) -> None:
    office.file(f"{ITEMS}/1")
    (found,) = cli("holds", "group", "--json").ok().json
    words = ("holds", "group", found["id"], "release", "--as", "ben", "--reason", "x", "--yes")
    ran = cli(*words, "--json")
    assert ran.code == Exit.REFUSED
    assert [each["result"] for each in ran.json["holds"].values()] == ["not permitted"]
    assert cli("holds", "group", "nothing", "deny", "--reason", "x").code == Exit.UNKNOWN
    assert cli("holds", "group", found["id"]).code == Exit.CANNOT_TELL


def test_a_group_of_which_the_others_must_release_each_is_exit_8(office: Office) -> None:
    clusters = office.home / "clusters.yaml"
    clusters.write_text(clusters.read_text().replace("    operations:", "    review: {quorum: 2}\n    operations:"))
    cli("bundle", "sign").ok()
    holds = [office.file(f"{ITEMS}/{number}", cluster="erp-example-443") for number in range(2)]
    (found,) = cli("holds", "group", "--json").ok().json
    words = ("holds", "group", found["id"], "release", "--reason", "seen", "--yes", "--as")
    first = cli(*words, "ada")
    assert (first.code, "release: 0 of 2" in first.out, first.err.count("1 more must")) == (Exit.SIGNED, True, 2)
    assert {office.hold(hold.id).state for hold in holds} == {HoldState.HELD}
    assert "release: 2 of 2" in cli(*words, "ben").ok().out


def test_a_store_that_goes_away_within_a_group_hides_nothing_of_what_was_decided(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = [office.file(f"{ITEMS}/{number}") for number in range(3)]
    (found,) = cli("holds", "group", "--json").ok().json
    apply = RedisHolds.apply

    async def once(holds: RedisHolds, hold_id: str, event: Event, **more: object) -> Moved:
        moved = await apply(holds, hold_id, event, **more)  # type: ignore[arg-type]
        monkeypatch.setattr(RedisHolds, "apply", away)
        return moved

    async def away(holds: RedisHolds, hold_id: str, event: Event, **more: object) -> Moved:
        raise Unavailable(Code.STORE_DOWN, "the store does not answer")

    monkeypatch.setattr(RedisHolds, "apply", once)
    ran = cli("holds", "group", found["id"], "deny", "--as", "ada", "--reason", "no", "--yes", "--json")
    told = ran.json["holds"]
    assert (ran.code, list(told)) == (Exit.REFUSED, found["holds"])
    assert [each["result"] for each in told.values()] == ["done", "failed", "failed"]
    assert [each["detail"].split(":")[0] for each in told.values()] == [
        "denied by ada",
        "nobody knows whether it was decided",
        "not decided",
    ]
    assert [office.hold(hold.id).state.value for hold in holds] == ["denied", "held", "held"]


# --- a change of policy instead of always ----------------------------------------------------------------------------


def test_a_proposal_is_a_rule_that_the_loader_takes_and_that_covers_the_call(office: Office, tmp_path: Path) -> None:
    hold = office.file("https://erp.example/v1/items/17?page=2&token=s3cret")
    shown = cli("holds", "propose", hold.id, "--json").ok().json
    assert shown["kind"] == "operation"
    (entry,) = yaml.safe_load(shown["yaml"])
    (operation,) = entry["operations"]
    assert (operation["methods"], operation["path"]) == (["GET"], "/v1/items/{id}")
    assert operation["query"] == {"page": ["2"], "token": "any"}, "no secret is written down"
    cli("holds", "propose", hold.id, "-o", tmp_path / "proposal.yaml").ok()
    text = (tmp_path / "proposal.yaml").read_text()
    assert "nobody has signed it" in text and "s3cret" not in text


@pytest.mark.parametrize(
    ("method", "url", "kind", "others"),
    [
        pytest.param(
            "GET",
            "https://erp.example/v1/items/17?page=2",
            "operation",
            ("GET https://erp.example/v1/items/17?page=3", "GET https://erp.example/v1/items/17/parts?page=2"),
            id="one more operation of a cluster that reaches the place",
        ),
        pytest.param(
            "GET",
            "https://elsewhere.example/v2/things",
            "cluster",
            ("GET https://elsewhere.example/v2/others", "POST https://elsewhere.example/v2/things"),
            id="a cluster more for a place that none reaches",
        ),
        pytest.param(
            "DELETE",
            "https://erp.example/v1/invoices/17",
            "operation",
            ("DELETE https://erp.example/v1/items/17", "PUT https://erp.example/v1/invoices/17"),
            id="what changes things goes where things are said to change",
        ),
    ],
)
def test_done_as_proposed_such_calls_pass_and_no_others(
    office: Office, method: str, url: str, kind: str, others: tuple[str, ...]
) -> None:
    hold = office.file(url, method=method)
    shown = cli("holds", "propose", hold.id, "--json").ok().json
    assert shown["kind"] == kind
    write_into(office.home / "clusters.yaml", shown)
    for step in shown["then"]:
        words = step.partition("#")[0].split()
        assert words[0] == "intent-proxy"
        cli(*words[1:], *(["--yes"] if words[1] == "manifest" else [])).ok()
    assert cli("explain", method, url, "--agent", "robot", "--json").json["verdict"] == "allow"
    for other in others:
        assert cli("explain", *other.split(" "), "--agent", "robot").code == Exit.WOULD_HOLD, other
    clusters = yaml.safe_load((office.home / "clusters.yaml").read_text())["clusters"]
    grown = {each["id"]: each["risk"] for each in clusters}[str(step).split("--grant ")[1].split("/")[0]]
    assert grown == ("routine" if method == "GET" else "transformative")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(
            "    operations:\n      - {name: items, methods: [GET], path: '/v1/items/{id}'}\n",
            "grant",
            id="an operation that the sponsor has not granted",
        ),
        pytest.param("    review: {always: true}\n    operations:\n", "review", id="a cluster that has it reviewed"),
    ],
)
def test_where_a_rule_is_there_its_grant_or_its_review_is_what_is_proposed(
    office: Office, change: str, kind: str
) -> None:
    clusters, path = office.home / "clusters.yaml", "items" if kind == "grant" else "invoices"
    clusters.write_text(clusters.read_text().replace("    operations:\n", change, 1))
    cli("bundle", "sign").ok()
    if kind == "review":
        cli("manifest", "renew", "--agent", "robot", "--yes").ok()
    shown = cli("holds", "propose", office.file(f"https://erp.example/v1/{path}/17").id, "--json").ok().json
    assert shown["kind"] == kind
    clusters.write_text(clusters.read_text().replace("always: true", "always: false"))
    for step in shown["then"]:
        words = step.partition("#")[0].split()
        cli(*words[1:], *(["--yes"] if words[1] == "manifest" else [])).ok()
    assert cli("explain", "GET", f"https://erp.example/v1/{path}/17", "--agent", "robot").code == Exit.OK


@pytest.mark.parametrize("words", ["erp-example-443", "erp-example-443/nothing", "nothing/get", "/", ""])
def test_only_an_operation_that_is_there_is_granted(office: Office, words: str) -> None:
    ran = cli("manifest", "renew", "--agent", "robot", "--grant", words, "--yes")
    assert (ran.code, "CLUSTER/OPERATION" in ran.err) == (Exit.CANNOT_TELL, True)


def write_into(clusters: Path, proposal: dict[str, str]) -> None:
    """The proposed lines where the proposal says they belong."""
    written, lines = clusters.read_text(), proposal["yaml"].split("\n")
    at = len(written)
    if proposal["kind"] == "operation":
        heading = "    operations:\n"
        at = written.index(heading, written.index(f"- id: {proposal['cluster']}")) + len(heading)
        lines = lines[2:]
    clusters.write_text(written[:at] + "".join(f"  {line}\n" for line in lines) + written[at:])


def test_a_place_no_cluster_reaches_is_proposed_as_a_cluster(office: Office) -> None:
    hold = office.file("https://elsewhere.example/v2/things")
    shown = cli("holds", "propose", hold.id, "--json").ok().json
    (entry,) = yaml.safe_load(shown["yaml"])
    assert (shown["kind"], entry["hosts"], entry["risk"]) == ("cluster", ["elsewhere.example"], "routine")
    cli("holds", "deny", hold.id, "--as", "ada", "--reason", "no").ok()
    ran = cli("holds", "propose", hold.id)
    assert (ran.code, "propose while it waits" in ran.err) == (Exit.REFUSED, True)


# --- a route ---------------------------------------------------------------------------------------------------------


def test_a_route_is_granted_listed_and_revoked(office: Office) -> None:
    hold = office.file(f"{ITEMS}/17?page=2")
    words = ("--scope", "route", "--path", "/v1/items/{id}", "--vary", "page", "--for", "15m")
    ran = cli("holds", "release", hold.id, "--as", "ada", *words, "--reason", "stock-taking").ok()
    assert "released by ada" in ran.out and "GET https://erp.example/v1/items/{id}, any page" in ran.out
    assert office.hold(hold.id).state is HoldState.APPROVED
    (grant,) = cli("grants", "list", "--json").ok().json
    assert (grant["by"], grant["reason"], grant["used"], grant["count"], grant["state"]) == (
        "ada",
        "stock-taking",
        0,
        100,
        "in force",
    )
    assert grant["id"] in cli("grants", "list").ok().out
    cli("grants", "revoke", grant["id"], "--as", "ben", "--reason", "over").ok()
    assert office.control().revoked_grants == {grant["id"]}
    assert [each["state"] for each in cli("grants", "list", "--json").ok().json] == ["revoked"]
    assert cli("grants", "revoke", "nothing", "--as", "ben", "--reason", "x").code == Exit.UNKNOWN


def test_a_route_that_could_not_be_kept_is_told_from_the_call_that_is_released(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(grants: RedisGrants, grant_id: str, statement: str, **more: object) -> None:
        raise Unavailable(Code.STORE_DOWN, "the store does not answer")

    monkeypatch.setattr(RedisGrants, "put", away)
    hold = office.file(f"{ITEMS}/17")
    ran = cli("holds", "release", hold.id, "--as", "ada", "--scope", "route", "--count", "5", "--reason", "x")
    assert (ran.code, "released by ada, this call alone" in ran.err) == (Exit.UNAVAILABLE, True), ran
    assert office.hold(hold.id).state is HoldState.APPROVED


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        pytest.param(("--count", "5"), Exit.REFUSED, "needs a reason", id="no reason"),
        pytest.param(("--reason", "x"), Exit.REFUSED, "say how long (--for) or how often", id="no end"),
        pytest.param(("--reason", "x", "--for", "2d"), Exit.REFUSED, "24 hours", id="too long"),
        pytest.param(("--reason", "x", "--count", "0"), Exit.REFUSED, "from 1 to 1000", id="never"),
        pytest.param(("--reason", "x", "--count", "5", "--path", "/v9"), Exit.REFUSED, "not cover", id="elsewhere"),
    ],
)
def test_a_route_without_bounds_is_refused_and_nothing_is_released(
    office: Office, words: tuple[str, ...], code: int, said: str
) -> None:
    hold = office.file(f"{ITEMS}/17")
    ran = cli("holds", "release", hold.id, "--as", "ada", "--scope", "route", *words)
    assert (ran.code, said in ran.err) == (code, True), ran
    assert office.hold(hold.id).state is HoldState.HELD
    assert cli("grants", "list", "--json").ok().json == []


def test_what_may_change_things_is_never_granted_by_route(office: Office) -> None:
    hold = office.file(f"{ITEMS}/17", method="POST", body=b"{}")
    ran = cli("holds", "release", hold.id, "--as", "ada", "--scope", "route", "--count", "5", "--reason", "x", "--json")
    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (Exit.NOT_PERMITTED, "hold.not_permitted")
    assert office.hold(hold.id).state is HoldState.HELD
    assert cli("holds", "release", hold.id, "--as", "ada", "--count", "5").code == Exit.CANNOT_TELL
    cli("holds", "release", hold.id, "--as", "ada").ok()
