"""The contract of `ports.Control`, and what a node keeps when Redis forgets."""

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from identities import AGENT, DEPLOYMENT, DEPUTY, SPONSOR, bundle, key
from valkeys import Valkey

from proxy.core.control import CONTROL_TYP, Act, state
from proxy.core.encoding import b64u, sha256_b64u
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.jws import open_envelope
from proxy.core.keys import sign
from proxy.stores.files import StatementFile
from proxy.stores.memory import MemoryControl
from proxy.stores.redis import RedisServer
from proxy.stores.redis_control import STATEMENTS, STREAM, RedisControl
from proxy.stores.statements import Statements

BUNDLE = bundle()


def said(act: Act, target: str, *, by: str = SPONSOR, signed_by: str | None = None, ago_s: int = 0) -> str:
    """Signed just now, or that many seconds ago."""
    now = datetime.now(UTC) - timedelta(seconds=ago_s)
    return state(act, target, by=by, reason="test", deployment=DEPLOYMENT, key=key(signed_by or by), now=now)


def statements(**how) -> Statements:
    return Statements(lambda: BUNDLE, **how)


@pytest.fixture(params=["in memory", "on Valkey"])
def control(request):
    if request.param == "in memory":
        return MemoryControl(statements())
    return RedisControl(request.getfixturevalue("server"), statements())


async def seen(control):
    """What the control shows after a look at its store."""
    if isinstance(control, RedisControl):
        await control.ready()
    return control.view()


@asynccontextmanager
async def following(control: RedisControl):
    task = asyncio.ensure_future(control.follow())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition) -> None:
    """Wait for what is promised within two seconds."""
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.01)


def killed(control) -> bool:
    try:
        return control.view().killed
    except Unavailable:
        return False


async def test_what_is_published_counts_at_once(control):
    assert not (await seen(control)).killed
    await control.publish(said(Act.KILL_ON, "*"))
    assert control.view().killed
    await control.publish(said(Act.QUARANTINE, AGENT))
    await control.publish(said(Act.REVOKE_KEY, "thumbprint"))
    await control.publish(said(Act.REVOKE_ROOT, "root"))
    await control.publish(said(Act.REVOKE_MANIFEST, "ada jti"))
    view = await seen(control)
    assert view.quarantined(AGENT)
    assert view.revoked_keys == {"thumbprint"}
    assert view.revoked_roots == {"root"}
    assert view.revoked_manifests == {("ada", "jti")}


async def test_the_latest_word_about_an_agent_counts_in_whatever_order_it_comes(control):
    await seen(control)
    await control.publish(said(Act.RESTORE, AGENT, ago_s=60))
    await control.publish(said(Act.QUARANTINE, AGENT, ago_s=120))
    assert not control.view().quarantined(AGENT)
    await control.publish(said(Act.QUARANTINE, AGENT))
    assert control.view().quarantined(AGENT)


async def test_publishing_twice_is_publishing_once(control):
    await seen(control)
    statement = said(Act.KILL_ON, "*")
    await control.publish(statement)
    await control.publish(statement)
    assert (await seen(control)).killed


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(said(Act.KILL_ON, "*", by="mallory"), id="by a stranger"),
        pytest.param(said(Act.KILL_ON, "*", signed_by="mallory"), id="by a stranger's key"),
        pytest.param(said(Act.KILL_OFF, "*"), id="by someone who may not"),
        pytest.param("not.a.jws", id="that is none"),
        pytest.param("", id="that is empty"),
    ],
)
async def test_a_statement_nobody_would_follow_is_not_published(control, statement):
    await seen(control)
    with pytest.raises(Rejected) as caught:
        await control.publish(statement)
    assert caught.value.code is Code.STATEMENT_INVALID
    assert (await seen(control)).latest == {}


# --- across nodes ----------------------------------------------------------------------------------------------------


async def test_every_node_follows_within_the_promise(valkey, server):
    here, there = RedisControl(server, statements()), RedisControl(server, statements())
    async with following(there):
        await until(lambda: not _stale(there))
        assert not there.view().killed
        await here.publish(said(Act.KILL_ON, "*", ago_s=60))
        await until(lambda: killed(there))
        await here.publish(said(Act.KILL_OFF, "*", by="operator"))
        await until(lambda: not killed(there))


def _stale(control) -> bool:
    try:
        control.view()
    except Unavailable as fault:
        assert fault.code is Code.VIEW_STALE
        return True
    return False


async def test_a_node_that_has_never_looked_denies(server):
    control = RedisControl(server, statements())
    assert _stale(control)
    await control.ready()
    assert not _stale(control)


async def test_a_node_that_comes_later_learns_everything(server):
    await RedisControl(server, statements()).publish(said(Act.KILL_ON, "*"))
    late = RedisControl(server, statements())
    await late.ready()
    assert late.view().killed


async def test_what_was_deleted_from_redis_stays_stopped(valkey, server):
    control = RedisControl(server, statements())
    await control.publish(said(Act.KILL_ON, "*"))
    valkey.flush()
    await control.ready()
    assert control.view().killed


async def test_a_flushed_stream_does_not_deafen_a_node(valkey, server):
    here, there = RedisControl(server, statements()), RedisControl(server, statements())
    await here.publish(said(Act.QUARANTINE, AGENT))
    async with following(there):
        await until(lambda: not _stale(there) and there.view().quarantined(AGENT))
        valkey.flush()
        await here.publish(said(Act.KILL_ON, "*"))
        await until(lambda: killed(there))
        assert there.view().quarantined(AGENT)


async def test_a_restarted_node_remembers_what_redis_forgot(valkey, server, tmp_path):
    path = tmp_path / "control.jsonl"
    before = RedisControl(server, statements(file=StatementFile(path)))
    await before.publish(said(Act.KILL_ON, "*"))
    valkey.flush()

    after = RedisControl(server, statements(file=StatementFile(path)))
    await after.ready()
    assert after.view().killed
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_worker_learns_what_another_worker_of_its_node_wrote(valkey, server, tmp_path):
    path = tmp_path / "control.jsonl"
    one, other = (RedisControl(server, statements(file=StatementFile(path))) for _ in range(2))
    await other.ready()
    await one.publish(said(Act.KILL_ON, "*"))
    valkey.flush()
    await other.ready()
    assert other.view().killed
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("statement_id", "token"),
    [
        pytest.param("id", "no statement", id="text"),
        pytest.param("id", b"\xff\xfe", id="bytes"),
        pytest.param("of-another", said(Act.KILL_ON, "*"), id="a statement under another id"),
        pytest.param("id", said(Act.KILL_ON, "*", by="mallory"), id="a stranger's statement"),
    ],
)
async def test_what_someone_else_put_there_is_reported_and_ignored(valkey, server, statement_id, token):
    reports = []
    control = RedisControl(server, statements(on_refused=lambda *report: reports.append(report)))
    with valkey.client() as client:
        client.hset(STATEMENTS, statement_id, token)
        client.xadd(STREAM, {"prev": "0-0", "id": statement_id, "statement": token})
    await RedisControl(server, statements()).publish(said(Act.QUARANTINE, AGENT))

    await control.ready()
    await control.ready()

    assert not control.view().killed
    assert control.view().quarantined(AGENT)
    assert [(name, fault.code) for name, fault in reports] == [(statement_id, Code.STATEMENT_INVALID)]


async def test_a_foreign_entry_in_the_stream_is_ignored_and_the_next_one_heard(valkey, server):
    reports = []
    control = RedisControl(server, statements(on_refused=lambda *report: reports.append(report)))
    async with following(control):
        await until(lambda: not _stale(control))
        with valkey.client() as client:
            client.xadd(STREAM, {"prev": "0-0", "id": "x", "statement": "y"})
        await until(lambda: reports)
        await RedisControl(server, statements()).publish(said(Act.KILL_ON, "*"))
        await until(lambda: killed(control))


async def test_a_statement_of_someone_enrolled_later_counts_from_then_on(server):
    known = {"bundle": replace(BUNDLE, people={}, sha256="before")}
    control = RedisControl(server, Statements(lambda: known["bundle"]))
    await RedisControl(server, statements()).publish(said(Act.KILL_ON, "*"))
    await control.ready()
    assert not control.view().killed
    known["bundle"] = BUNDLE
    await control.ready()
    assert control.view().killed


async def test_a_statement_of_someone_who_left_still_counts(server, tmp_path):
    file = StatementFile(tmp_path / "control.jsonl")
    await RedisControl(server, statements(file=file)).publish(said(Act.KILL_ON, "*"))
    left = Statements(lambda: replace(BUNDLE, people={}), file=StatementFile(tmp_path / "control.jsonl"))
    control = RedisControl(server, left)
    await control.ready()
    assert control.view().killed


# --- what an enrolled person could write -----------------------------------------------------------------------------


def by_hand(**changed) -> tuple[str, str]:
    """The id and token of a genuinely signed statement of another program: any JSON, not only what ours writes."""
    now_s = int(time.time())
    claims = {"iss": DEPUTY, "aud": DEPLOYMENT, "iat": now_s, "serial": now_s * 1000, "act": "quarantine"}
    signer = key(DEPUTY)
    header = json.dumps({"typ": CONTROL_TYP, "alg": signer.public.alg, "kid": signer.public.kid})
    payload = json.dumps({**claims, "target": AGENT, "reason": "r", **changed})
    signing_input = f"{b64u(header.encode())}.{b64u(payload.encode())}"
    token = f"{signing_input}.{b64u(sign(signer, signing_input.encode()))}"
    return sha256_b64u(signing_input.encode()), token


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"serial": 2**53 + 1}, id="a serial that JSON cannot hold exactly"),
        pytest.param({"serial": 2**53 - 1}, id="a serial beyond all others"),
        pytest.param({"reason": "\ud800"}, id="half a character"),
        pytest.param({"act": "kill-on"}, id="a kill switch for one agent"),
        pytest.param({"act": "quarantine", "target": "*"}, id="a quarantine of everything"),
    ],
)
async def test_a_poisoned_statement_ends_no_node_and_counts_nowhere(valkey, server, tmp_path, changed):
    async def node(reports):
        file = StatementFile(tmp_path / "control.jsonl")
        return RedisControl(server, statements(file=file, on_refused=lambda *report: reports.append(report)))

    statement_id, token = by_hand(**changed)
    reports = []
    running = await node(reports)
    async with following(running):
        await until(lambda: not _stale(running))
        with valkey.client() as client:
            client.hset(STATEMENTS, statement_id, token)
            client.xadd(STREAM, {"prev": "0-0", "id": statement_id, "statement": token})
        await until(lambda: reports)
        await running.publish(said(Act.QUARANTINE, AGENT, ago_s=60))  # its twin
        await until(lambda: running.view().quarantined(AGENT))
        await running.publish(said(Act.RESTORE, AGENT, by="operator"))
        assert not running.view().quarantined(AGENT)
        assert not running.view().killed
    restarted = await node(again := [])
    await restarted.ready()
    assert [fault.code for _, fault in again] == [Code.STATEMENT_INVALID]
    assert not restarted.view().quarantined(AGENT)


async def test_what_cannot_be_written_down_for_another_reason_is_ignored_as_well(server):
    class Choosy(StatementFile):
        def remember(self, said):
            raise ValueError("not in my file")

    reports = []
    control = Statements(lambda: BUNDLE, file=Choosy("nowhere"), on_refused=lambda _, fault: reports.append(fault.code))
    await control.offer(*by_hand())
    assert reports == [Code.STATEMENT_INVALID]


async def test_a_statement_from_the_future_counts_when_its_time_comes(server):
    ahead = {"s": 0}

    def clock():
        return datetime.now(UTC) + timedelta(seconds=ahead["s"])

    control = RedisControl(server, statements(clock=clock))
    early = said(Act.RESTORE, AGENT, ago_s=-60)
    with pytest.raises(Rejected, match="signed in the future"):
        await control.publish(early)
    await server.command("HSET", STATEMENTS, open_envelope(early, typ=CONTROL_TYP, code=Code.UNDECIDED).id, early)
    await control.publish(said(Act.QUARANTINE, AGENT))
    await control.ready()
    assert control.view().quarantined(AGENT)
    ahead["s"] = 60
    await control.ready()
    assert not control.view().quarantined(AGENT)


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_what_comes_into_force_while_we_run_is_told_once(server, tmp_path):
    path = tmp_path / "control.jsonl"
    told = []
    one = RedisControl(server, statements(file=StatementFile(path), on_accepted=lambda said: told.append(said.act)))
    other = RedisControl(server, statements(file=StatementFile(path)))
    await one.publish(said(Act.KILL_ON, "*"))
    await other.publish(said(Act.QUARANTINE, AGENT))
    for _ in range(2):
        await one.ready()
    assert told == [Act.KILL_ON, Act.QUARANTINE]
    told.clear()
    statements(file=StatementFile(path), on_accepted=lambda said: told.append(said.act))
    assert not told


# --- when parts fail -------------------------------------------------------------------------------------------------


async def test_a_view_goes_stale_with_the_store_and_comes_back_with_it():
    with Valkey() as valkey:
        server = RedisServer(valkey.url)
        control = RedisControl(server, statements())
        async with following(control):
            await until(lambda: not _stale(control))
            valkey.freeze()
            frozen_s = time.monotonic()
            async with asyncio.timeout(3):
                while not _stale(control):
                    await asyncio.sleep(0.01)
            assert time.monotonic() - frozen_s < 2.5
            valkey.thaw()
            async with asyncio.timeout(5):
                while _stale(control):
                    await asyncio.sleep(0.01)
        await server.close()


async def test_a_view_stays_fresh_while_nothing_happens(server):
    control = RedisControl(server, statements())
    async with following(control):
        await until(lambda: not _stale(control))
        for _ in range(2):
            before_s = control._looked_at_s
            await until(lambda before_s=before_s: control._looked_at_s > before_s)


async def test_what_cannot_be_kept_on_disk_stops_the_node_and_still_stops_the_agent(server, tmp_path):
    nowhere = tmp_path / "gone" / "control.jsonl"
    control = RedisControl(server, statements(file=StatementFile(nowhere)))
    await control.ready()
    with pytest.raises(Unavailable) as caught:
        await control.publish(said(Act.KILL_ON, "*"))
    assert caught.value.code is Code.STORE_DOWN
    assert control.view().killed
    with pytest.raises(Unavailable):
        await control.ready()

    nowhere.parent.mkdir()
    await control.ready()
    assert control.view().killed
    assert nowhere.exists()


async def test_what_lets_an_agent_run_again_counts_only_once_it_is_on_disk(server, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    control = RedisControl(server, statements(file=StatementFile(folder / "control.jsonl")))
    await control.ready()
    await control.publish(said(Act.QUARANTINE, AGENT, ago_s=60))
    (folder / "control.jsonl").unlink()
    folder.rmdir()
    with pytest.raises(Unavailable):
        await control.publish(said(Act.RESTORE, AGENT))
    assert control.view().quarantined(AGENT)
