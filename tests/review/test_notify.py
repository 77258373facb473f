"""Telling receivers of what happens to held calls: what is told, to whom, signed how, and what is lost (nothing)."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import identities
import pytest
from certs import Authority
from hearing import DESK, SECRET, Ear, Hearing, verify
from identities import AGENT, DEPUTY, SPONSOR, key
from origins import Origin
from origins import Reply as Answer
from questions import deny
from standardwebhooks import WebhookVerificationError
from valkeys import Valkey

from proxy.core.addresses import OwnSurfaces
from proxy.core.control import ControlView
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.manifest import parse_manifest
from proxy.core.model import HoldState, IPAddress
from proxy.core.notes import NoteAct
from proxy.policy.webhooks import About, Format, Target
from proxy.ports import HoldNews, Resolver
from proxy.review.notify.notices import Notice
from proxy.review.notify.posting import Reply
from proxy.review.notify.receivers import Sender, read_mark
from proxy.review.notify.secret import new_signing_secret, read_signing_secret
from proxy.review.updates import Proposal
from proxy.stores.redis import RedisServer


class Turned:
    """A clock that runs, and that a test moves on."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def hearing(clock: Turned) -> Iterator[Hearing]:
    with Hearing.in_memory(clock) as made:
        yield made


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey(appendfsync="no") as running:
        yield running


@pytest.fixture
async def server(valkey: Valkey) -> AsyncIterator[RedisServer]:
    valkey.flush()
    connected = RedisServer(valkey.url)
    yield connected
    await connected.close()


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_who_wants_what_how_risky_it_is_until_when_and_where_to_decide(hearing: Hearing) -> None:
    ops = hearing.receiver()
    async with hearing.telling():
        hold = await hearing.filer.file("https://erp.example/v1/customers/42?page=7")
        message = await ops.heard("hold.filed")
    data = message["data"]
    assert data.pop("text") == (
        f"{AGENT} wants DELETE https://erp.example/v1/customers/42 with a query; held until {data['expires_at']} for "
        f"{SPONSOR} (mandate.not_covered, transformative)."
    )
    assert data == {
        "deployment": identities.DEPLOYMENT,
        "hold": hold.id,
        "link": f"{DESK}/holds/{hold.id}",
        "agent": AGENT,
        "sponsor": SPONSOR,
        "asks": "DELETE https://erp.example/v1/customers/42 with a query",
        "code": "mandate.not_covered",
        "risk": hold.risk.value,
        "state": "held",
        "expires_at": data["expires_at"],
        "may_decide": [SPONSOR],
        "quorum": 1,
    }


async def test_every_message_is_signed_as_the_receivers_library_verifies_it(hearing: Hearing) -> None:
    ops = hearing.receiver()
    async with hearing.telling():
        await hearing.filer.file()
        (request,) = await ops.asked(1)
    assert verify(request)["type"] == "hold.filed"
    with pytest.raises(WebhookVerificationError):
        verify(replace(request, body=request.body.replace(b"DELETE", b"GET")))
    with pytest.raises(WebhookVerificationError):
        verify(request, new_signing_secret(b"x" * 32))


async def test_a_decision_is_told_with_whom_only_where_they_signed_it(hearing: Hearing) -> None:
    ops = hearing.receiver()
    async with hearing.telling():
        released, denied, forged = [await hearing.filer.file(f"https://erp.example/v1/x/{n}") for n in "123"]
        await ops.heard("hold.filed", 3)
        await hearing.release(released)
        person = hearing.bundle.people[SPONSOR]
        await hearing.reviews.deny(denied.id, person=person, key=key(SPONSOR), reason="no")
        await hearing.holds.apply(forged.id, Event.APPROVE, statement="a.b.c", by=SPONSOR)
        await ops.heard("hold.decided", 3)
    told = {each["data"]["hold"]: each["data"] for each in ops.told("hold.decided")}
    assert (told[released.id]["state"], told[released.id]["by"]) == ("approved", SPONSOR)
    assert told[released.id]["text"] == f"{SPONSOR} released it: {AGENT} wants DELETE https://erp.example/v1/x/1."
    assert (told[denied.id]["state"], told[denied.id]["by"]) == ("denied", SPONSOR)
    assert told[denied.id]["asks"] == "DELETE https://erp.example/v1/x/2"  # remembered, though the call is deleted
    assert "by" not in told[forged.id]
    assert told[forged.id]["text"].startswith("It is marked approved, and no reviewer's signature says so")


async def test_an_escalation_a_release_of_several_and_an_end_are_told(hearing: Hearing) -> None:
    ops = hearing.receiver()
    people = hearing.bundle.people
    async with hearing.telling():
        hold = await hearing.filer.file()
        for act in (NoteAct.COMMENT, NoteAct.ESCALATE, NoteAct.CANCEL):
            await hearing.reviews.note(act, hold.id, person=people[SPONSOR], key=key(SPONSOR), reason="because")
        await ops.heard("hold.decided")
    (escalated,), (ended,) = ops.told("hold.escalated"), ops.told("hold.decided")
    assert escalated["data"]["text"].startswith(f"{SPONSOR} escalated it, {SPONSOR} or {DEPUTY} may decide now: ")
    assert (ended["data"]["state"], ended["data"]["by"]) == ("cancelled", SPONSOR)
    assert [message["type"] for message in ops.messages] == ["hold.filed", "hold.escalated", "hold.decided"]


async def test_a_release_that_counts_no_more_is_told_with_whose_it_was_and_why(hearing: Hearing) -> None:
    ops = hearing.receiver()
    async with hearing.telling():
        hold = await hearing.filer.file()
        await hearing.release(hold)
        await ops.heard("hold.decided")
    hearing.bundle = replace(hearing.bundle, deny=(deny("no-erp", hosts=("erp.example",)),))
    async with hearing.telling():
        assert (await hearing.holds.apply(hold.id, Event.RECALL)).applied
        told = await ops.heard("hold.lapsed")
    text = told["data"]["text"]
    assert text.startswith(f"The release by {SPONSOR} counts no more (today's rules deny the call to everyone"), text
    assert (told["data"]["state"], told["data"]["by"]) == ("held", SPONSOR)


async def test_what_nobody_decided_and_what_may_have_arrived_are_told(hearing: Hearing, clock: Turned) -> None:
    ops = hearing.receiver()
    async with hearing.telling():
        late = await hearing.filer.file("https://erp.example/v1/x/1", ttl_s=600)
        lost = await hearing.filer.file("https://erp.example/v1/x/2", ttl_s=6000)
        await hearing.release(lost)
        claimed = await hearing.holds.apply(lost.id, Event.CLAIM, worker="w/1")
        await hearing.holds.apply(lost.id, Event.LOST, fence=claimed.hold.fence, worker="w/1")
        clock.ahead = timedelta(minutes=20)
        await hearing.holds.sweep()
        expired, uncertain = await ops.heard("hold.expired"), await ops.heard("hold.uncertain")
    assert (expired["data"]["hold"], uncertain["data"]["hold"]) == (late.id, lost.id)
    assert expired["data"]["text"].startswith("Nobody decided in time, so it was not sent: ")
    assert uncertain["data"]["text"].startswith("Nobody knows whether this call arrived")


async def test_a_deputys_turn_is_told_when_it_comes_and_once(hearing: Hearing, clock: Turned) -> None:
    ops = hearing.receiver()
    async with hearing.telling():
        hold = await hearing.filer.file(ttl_s=600)
        await ops.heard("hold.filed")
        clock.ahead = timedelta(seconds=201)
        turn = await ops.heard("hold.turn")
        clock.ahead = timedelta(seconds=260)
        await hearing.filer.file("https://erp.example/v1/later")
        await ops.heard("hold.filed", 2)
    assert turn["data"]["hold"] == hold.id
    assert turn["data"]["text"].startswith(f"{DEPUTY} may decide it now, too, until ")
    assert turn["data"]["may_decide"] == [SPONSOR, DEPUTY]
    assert len(ops.told("hold.turn")) == 1


async def test_a_manifest_that_ends_is_told_a_week_and_a_day_before(hearing: Hearing, clock: Turned) -> None:
    root = parse_manifest(hearing.filer.tokens[0])
    hearing.manifests = (root,)
    ops = hearing.receiver()
    async with hearing.telling():
        for before in (timedelta(days=6, hours=23), timedelta(hours=23)):
            clock.ahead = root.exp - before - datetime.now(UTC)
            message = await ops.heard("mandate.expiring", 1 if before > timedelta(days=1) else 2)
            assert (message["data"]["agent"], message["data"]["manifest"]) == (AGENT, root.id)
            assert f"ends in {'6 d 22 h' if before.days else '22 h 59 min'}" in message["data"]["text"]


async def test_nobody_is_asked_to_renew_what_was_revoked(hearing: Hearing) -> None:
    root = parse_manifest(hearing.filer.tokens[0])
    hearing.manifests, days = (root,), (root.exp - timedelta(days=8), root.exp - timedelta(days=6))
    (told,) = await hearing.noticing.between(*days)
    assert told.facts["manifest"] == root.id
    hearing.view = ControlView(revoked_manifests=frozenset({(root.iss, root.jti)}))
    assert await hearing.noticing.between(*days) == ()


async def test_a_proposed_manifest_is_told(hearing: Hearing, clock: Turned) -> None:
    ops = hearing.receiver()
    async with hearing.telling():
        hearing.proposals = (
            Proposal(id="p1", agent=AGENT, sponsor=SPONSOR, author=DEPUTY, why="b3cause", at=clock(), text="dr4ft"),
        )
        message = await ops.heard("manifest.proposed")
    assert message["data"]["text"] == f"{DEPUTY} proposes a new manifest for {AGENT}; {SPONSOR} may sign it."
    assert message["data"]["link"] == f"{DESK}/proposals/p1"
    assert b"b3cause" not in ops.origin.raw_bytes and b"dr4ft" not in ops.origin.raw_bytes


CANARIES = ("qu3ry-v4lue", "h3ader-v4lue", "b0dy-v4lue", "t4sk-name", "s3cret-reason", "Bearer")


@pytest.mark.parametrize("form", [Format.JSON, Format.SLACK])
async def test_no_body_no_header_no_value_of_a_query_and_no_secret_is_ever_told(
    hearing: Hearing, clock: Turned, form: Format
) -> None:
    ops = hearing.receiver(format=form)
    async with hearing.telling():
        hold, other = [
            await hearing.filer.file(
                f"https://erp.example/v1/customers/{number}?token={CANARIES[0]}&{CANARIES[0]}",
                method="POST",
                headers=(("Authorization", f"Bearer {CANARIES[1]}"), ("X-Any", CANARIES[1])),
                body=CANARIES[2].encode(),
                task=CANARIES[3],
            )
            for number in "12"
        ]
        await ops.asked(2)
        person = hearing.bundle.people[SPONSOR]
        for act in (NoteAct.COMMENT, NoteAct.ESCALATE):
            await hearing.reviews.note(act, hold.id, person=person, key=key(SPONSOR), reason=CANARIES[4])
        await hearing.reviews.deny(hold.id, person=person, key=key(SPONSOR), reason=CANARIES[4])
        await ops.asked(4)  # filed twice, escalated, denied
        clock.ahead = timedelta(seconds=201)
        await ops.asked(5)  # a turn
        clock.ahead = timedelta(minutes=20)
        await hearing.holds.sweep()
        await ops.asked(6)  # expired
    raw = ops.origin.raw_bytes
    assert other.id.encode() in raw and b"/v1/customers/1" in raw
    assert [canary for canary in (*CANARIES, SECRET, "whsec_") if canary.encode() in raw] == []


async def test_what_agents_put_into_a_path_is_no_markup_and_no_mention_in_slack(hearing: Hearing) -> None:
    chat = hearing.receiver("chat", format=Format.SLACK)
    async with hearing.telling():
        await hearing.filer.file("https://erp.example/v1/%3C!channel%3E%E2%80%AE*x*")
        (request,) = await chat.asked(1)
    message = json.loads(request.body)
    first, context, link = message["blocks"]
    assert first["text"]["type"] == context["elements"][0]["type"] == "plain_text"
    assert link["text"]["text"].startswith(f"<{DESK}/holds/") and link["text"]["text"].endswith("|Open it at the desk>")
    assert "<" not in message["text"] and request.body.isascii()
    assert "webhook-signature" not in {name.lower() for name, _ in request.headers}
    assert context["elements"][0]["text"].startswith("risk: transformative  |  may decide: ada  |  until ")


async def test_a_receiver_is_told_only_what_it_asked_for(hearing: Hearing) -> None:
    some, every = hearing.receiver("some", events=frozenset({About.DECIDED})), hearing.receiver("every")
    async with hearing.telling():
        await hearing.release(await hearing.filer.file())
        await some.heard("hold.decided")
        await every.heard("hold.decided")
    assert [len(ear.messages) for ear in (some, every)] == [1, 2]


# --- nothing is lost -------------------------------------------------------------------------------------------------


def different(ear: Ear) -> list[dict[str, Any]]:
    """Every message once: one that was taken and not noted when its teller ended comes again, with the same id."""
    by_id = {request.header("webhook-id"): json.loads(request.body) for request in ear.origin.requests}
    return list(by_id.values())


async def test_on_a_real_store_a_restart_loses_nothing_and_what_it_repeats_has_the_same_id(server: RedisServer) -> None:
    with Hearing.real(server) as hearing:
        ops = hearing.receiver()
        async with hearing.telling():
            first = await hearing.filer.file("https://erp.example/v1/1")
            await ops.heard("hold.filed")
        second = await hearing.filer.file("https://erp.example/v1/2")  # while nobody tells
        await hearing.release(first)
        async with hearing.telling("desk-2"):
            await ops.heard("hold.decided")
        assert [(each["type"], each["data"]["hold"]) for each in different(ops)] == [
            ("hold.filed", first.id),
            ("hold.filed", second.id),
            ("hold.decided", first.id),
        ]
        assert all(verify(request) for request in ops.origin.requests)


async def test_two_desks_on_one_store_tell_a_receiver_once(server: RedisServer) -> None:
    with Hearing.real(server) as hearing:
        ops = hearing.receiver()
        async with hearing.telling("desk-1"):
            other = asyncio.ensure_future(hearing.notifier("desk-2").run())
            for number in range(5):
                await hearing.filer.file(f"https://erp.example/v1/{number}")
            await ops.heard("hold.filed", 5)
            await hearing.release(await hearing.filer.file("https://erp.example/v1/last"))
            await ops.heard("hold.decided")
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
        assert len(ops.told("hold.filed")) == 6


async def test_what_is_not_taken_is_sent_again_with_the_same_id_until_it_is(hearing: Hearing) -> None:
    ops = hearing.receiver()
    ops.answer(Answer(status=503), Answer(status=429, headers=(("Retry-After", "0"),)), Answer(status=204))
    async with hearing.telling():
        await hearing.filer.file()
        requests = await ops.asked(3)
        await hearing.filer.file("https://erp.example/v1/next")
        await ops.asked(4)
    assert len({request.header("webhook-id") for request in requests}) == 1
    assert len({request.body for request in requests}) == 1
    assert len(ops.origin.requests) == 4


async def test_a_dead_receiver_delays_nobody_else_and_is_told_all_when_it_is_back(hearing: Hearing) -> None:
    dead, fine = hearing.receiver("dead"), hearing.receiver("fine")
    dead.answer(Answer(status=500))
    async with hearing.telling():
        for number in range(3):
            await hearing.filer.file(f"https://erp.example/v1/{number}")
        await fine.heard("hold.filed", 3)
        await dead.asked(2)
        assert len({each["data"]["hold"] for each in dead.messages}) == 1  # in order: the first is still tried
        dead.answer(Answer(status=200))
        async with asyncio.timeout(10):
            while len({each["data"]["hold"] for each in dead.messages}) < 3:
                await dead.asked(len(dead.origin.requests) + 1)


async def test_a_message_that_is_refused_for_itself_does_not_stop_the_next(hearing: Hearing) -> None:
    ops = hearing.receiver()
    ops.answer(*[Answer(status=400)] * 3, Answer(status=204))
    async with hearing.telling():
        first = await hearing.filer.file("https://erp.example/v1/1")
        await ops.asked(3)
        second = await hearing.filer.file("https://erp.example/v1/2")
        await ops.asked(4)
    assert [each["data"]["hold"] for each in ops.messages] == [first.id] * 3 + [second.id]


async def test_events_the_store_lost_are_named_and_what_waits_is_told_anew(server: RedisServer, valkey: Valkey) -> None:
    with Hearing.real(server) as hearing:
        ops = hearing.receiver()
        async with hearing.telling():
            first = await hearing.filer.file("https://erp.example/v1/1")
            await ops.heard("hold.filed")
        waits = await hearing.filer.file("https://erp.example/v1/2")
        last = await hearing.filer.file("https://erp.example/v1/3")
        with valkey.client() as client:
            client.xtrim("{ip:0}:events", maxlen=1, approximate=False)
        async with hearing.telling():
            await ops.heard_of("hold.filed", last)
        assert [each["data"].get("hold") for each in different(ops)] == [first.id, None, waits.id, last.id]
        assert different(ops)[1]["type"] == "events.missed"


async def test_a_hold_changed_by_hand_is_passed_over_and_the_next_is_told(server: RedisServer, valkey: Valkey) -> None:
    with Hearing.real(server) as hearing:
        ops = hearing.receiver()
        async with hearing.telling():
            await hearing.filer.file("https://erp.example/v1/0")
            await ops.heard("hold.filed")
        broken = await hearing.filer.file("https://erp.example/v1/1")
        good = await hearing.filer.file("https://erp.example/v1/2")
        with valkey.client() as client:
            client.hset(f"{{ip:0}}:hold:{broken.id}", "agent", "<script>")
        async with hearing.telling():
            await ops.heard_of("hold.filed", good)
        assert [each["data"]["hold"] for each in different(ops)[1:]] == [good.id]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"cursor": 1, "looked": 2, "recent": []}', "\x00", "[" * 200_000])
def test_a_mark_that_is_not_ours_is_none(text: str) -> None:
    assert read_mark(text) is None


# --- where messages go -----------------------------------------------------------------------------------------------


class Leads(Resolver):
    """Every name leads there."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = tuple(map(ip_address, addresses))

    async def resolve(self, host: str, port: int) -> tuple[IPAddress, ...]:
        return self._addresses


async def post(hearing: Hearing, ear: Ear, **more: Any) -> int:
    allowed = more.pop("allowed", (ip_network("127.0.0.0/8"),))
    target = more.pop("target", ear.webhook.target)
    return (await hearing.postman.post(target, "{}", {}, allowed=allowed)).status


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        pytest.param("169.254.169.254", ("10.0.0.0/8",), id="metadata"),
        pytest.param("fd00:ec2::254", ("fd00::/8",), id="metadata, though its network is allowed"),
        pytest.param("169.254.7.7", (), id="link-local"),
        pytest.param("127.0.0.1", (), id="loopback that no rule names"),
        pytest.param("10.0.0.7", (), id="private that no rule names"),
        pytest.param("93.184.216.34", ("10.0.0.0/8",), id="public where a network is named"),
        pytest.param("::ffff:127.0.0.1", (), id="loopback in another spelling"),
        pytest.param("0.0.0.0", (), id="unspecified"),
    ],
)
async def test_no_message_goes_where_it_may_not(hearing: Hearing, address: str, allowed: tuple[str, ...]) -> None:
    ops = hearing.receiver()
    hearing.resolver = Leads(address)
    before = ops.origin.mark()
    with pytest.raises(Rejected) as refused:
        await post(hearing, ops, allowed=tuple(map(ip_network, allowed)))
    assert refused.value.code is Code.GUARD_ADDRESS
    assert ops.origin.since(before).nothing
    hearing.resolver = Leads("127.0.0.1")
    assert await post(hearing, ops) == 204


async def test_a_name_that_leads_to_a_good_and_a_bad_address_is_not_reached_at_all(hearing: Hearing) -> None:
    ops = hearing.receiver()
    hearing.resolver = Leads("127.0.0.1", "169.254.169.254")
    with pytest.raises(Rejected):
        await post(hearing, ops)
    assert ops.origin.since(()).nothing


async def test_the_proxy_itself_is_no_receiver(hearing: Hearing) -> None:
    ops = hearing.receiver()
    hearing.own = OwnSurfaces(ports=frozenset({ops.origin.port}))
    with pytest.raises(Rejected) as refused:
        await post(hearing, ops)
    assert refused.value.code is Code.GUARD_SELF
    hearing.own = OwnSurfaces(names=frozenset({"localhost"}))
    with pytest.raises(Rejected):  # nor the desk, under its own name
        await post(hearing, ops)
    hearing.own = OwnSurfaces(ports=frozenset({1}))
    assert await post(hearing, ops) == 204


async def test_a_redirect_is_not_followed(hearing: Hearing) -> None:
    elsewhere, ops = hearing.receiver("elsewhere"), hearing.receiver("ops")
    ops.answer(Answer(status=307, headers=(("Location", elsewhere.origin.url("/x")),)), Answer(status=204))
    async with hearing.telling():
        await hearing.filer.file()
        await ops.asked(2)
        await elsewhere.asked(1)
    assert [request.path for request in elsewhere.origin.requests] == ["/hook"]  # its own message, and no other


@pytest.mark.parametrize("which", ["another authority's", "another host's", "an expired one"])
async def test_a_certificate_that_does_not_count_is_told_nothing(hearing: Hearing, which: str) -> None:
    leaf = {
        "another authority's": Authority().server("localhost"),
        "another host's": hearing.authority.server("other.example"),
        "an expired one": hearing.authority.expired("localhost"),
    }[which]
    ops = hearing.receiver()
    with Origin(tls=leaf) as origin:
        target = Target(scheme="https", host="localhost", port=origin.port, path="/hook")
        with pytest.raises(Unavailable, match="certificate that does not count"):
            await post(hearing, ops, target=target)
        assert origin.raw_bytes == b""
    assert await post(hearing, ops) == 204


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        pytest.param(Answer(raw=b"SSH-2.0-x\r\n\r\n", then="close"), "not HTTP/1.1", id="another protocol"),
        pytest.param(Answer(raw=b"", then="close"), "without an answer", id="nothing"),
        pytest.param(Answer(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 4000), "no answer that ends", id="no end"),
    ],
)
async def test_an_answer_that_is_none_is_said_so(hearing: Hearing, reply: Answer, why: str) -> None:
    ops = hearing.receiver()
    ops.answer(reply)
    with pytest.raises(Unavailable, match=why):
        await post(hearing, ops)


async def test_of_a_long_answer_only_the_beginning_is_read(hearing: Hearing) -> None:
    ops = hearing.receiver()
    ops.answer(Answer(status=200, body=b"x" * 1_000_000))
    assert ops.webhook.target is not None
    reply = await hearing.postman.post(ops.webhook.target, "{}", {}, allowed=(ip_network("127.0.0.0/8"),))
    assert (reply.status, reply.said, reply.retry_after_s) == (200, "x" * 300, None)


# --- what signs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("correct horse battery staple", id="a pass phrase"),
        pytest.param("whsec_correct horse battery", id="a pass phrase with the prefix"),
        pytest.param("whsec_c2hvcnQ=", id="too short"),
        pytest.param(SECRET.removeprefix("whsec_"), id="without the prefix"),
    ],
)
def test_a_secret_that_the_library_would_take_for_less_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_signing_secret(text)
    assert text == "" or text not in refused.value.detail
    assert read_signing_secret(SECRET) == b"k" * 32


async def test_without_its_secret_a_receiver_is_told_nothing_until_it_is_there(hearing: Hearing) -> None:
    ops = hearing.receiver()
    kept = dict(hearing.secrets.values)
    hearing.secrets.values.clear()
    async with hearing.telling():
        await hearing.filer.file()
        await asyncio.sleep(0)
        hearing.secrets.values.update(kept)
        await ops.heard("hold.filed")
    assert len(ops.messages) == 1


async def test_an_error_of_ours_at_one_receiver_silences_nobody_else(
    hearing: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, fine = hearing.receiver("bad"), hearing.receiver("fine")
    right = Sender.send

    async def send(sender: Sender, notice: Notice) -> Reply:
        if sender.webhook.name == "bad":
            raise ValueError("broken")
        return await right(sender, notice)

    monkeypatch.setattr(Sender, "send", send)
    async with hearing.telling():
        await hearing.filer.file()
        await fine.heard("hold.filed")
        monkeypatch.setattr(Sender, "send", right)
        await bad.heard("hold.filed")


async def test_what_somebody_wrote_into_the_store_about_a_hold_that_is_over_is_no_markup(
    server: RedisServer, valkey: Valkey
) -> None:
    with Hearing.real(server) as hearing:
        chat = hearing.receiver("chat", format=Format.SLACK)
        async with hearing.telling():
            hold = await hearing.filer.file()
            await chat.asked(1)
        person = hearing.bundle.people[SPONSOR]
        await hearing.reviews.deny(hold.id, person=person, key=key(SPONSOR), reason="no")
        with valkey.client() as client:
            client.hset(f"{{ip:0}}:hold:{hold.id}", "agent", "<!channel>\u202e|x")
        async with hearing.telling():
            requests = await chat.asked(2)
        message = json.loads(requests[-1].body)
        assert "<" not in message["text"] and "\\u202e" in message["text"] and message["text"].isascii()


async def test_the_events_of_the_way_are_worth_no_message(hearing: Hearing) -> None:
    hold = await hearing.filer.file()
    for state, version in ((HoldState.RELEASING, 3), (HoldState.RELEASED, 4), (HoldState.HELD, 2)):
        news = HoldNews(cursor="1", hold_id=hold.id, state=state, version=version)
        assert await hearing.noticing.of_news(news) is None
    gone = HoldNews(cursor="1", hold_id="no-such-hold", state=HoldState.HELD, version=1)
    assert await hearing.noticing.of_news(gone) is None
