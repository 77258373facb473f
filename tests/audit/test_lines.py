"""One line: what is written is read again, and nothing else is."""

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import NOW

from proxy.audit.lines import (
    MAX_LINE_BYTES,
    JournalFile,
    Kind,
    boot_name,
    compose,
    file_named,
    read_line,
    read_stamp,
    slot_of,
    stamp,
)
from proxy.core.encoding import Json, b64u
from proxy.core.errors import Code, Rejected

PREV = b64u(hashlib.sha256(b"the line before").digest())

_NAMES = st.text(st.characters(codec="ascii", categories=("Ll",)), min_size=1, max_size=8).filter(
    lambda name: name not in {"seq", "prev", "at", "kind"}
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(
    fields=st.dictionaries(_NAMES, _VALUES, max_size=6),
    kind=st.sampled_from(Kind),
    seq=st.integers(1, 10**12),
    at=st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)),
)
def test_what_is_written_is_read_again(fields: dict[str, Json], kind: Kind, seq: int, at: datetime) -> None:
    written = compose(kind, fields, seq=seq, prev=PREV, at=at)
    line = read_line(written.data)
    assert written.data.isascii()
    assert b"\n" not in written.data
    assert (line.seq, line.prev, line.at, line.kind, dict(line.fields)) == (seq, PREV, at, kind, fields)
    assert (line.hash, line.mark) == (written.hash, written.mark)
    assert json.loads(written.data) == {"seq": seq, "prev": PREV, "at": stamp(at), "kind": kind.value, **fields}


def test_the_digests_are_what_the_manual_says() -> None:
    written = compose(Kind.DECISION, {"b": "é", "a": 1}, seq=7, prev=PREV, at=NOW)
    content = b'{"a":1,"at":"2026-03-02T09:30:00.000000Z","b":"\\u00e9","kind":"decision"}'
    assert written.data == b'{"seq":7,"prev":"' + PREV.encode() + b'",' + content[1:]
    assert written.hash == b64u(hashlib.sha256(written.data).digest())
    assert written.mark == b64u(hashlib.sha256(content).digest())[:12]


def test_a_mark_does_not_depend_on_the_place_in_the_chain() -> None:
    here = compose(Kind.DECISION, {"a": 1}, seq=7, prev=PREV, at=NOW)
    there = compose(Kind.DECISION, {"a": 1}, seq=8, prev="", at=NOW)
    assert here.mark == there.mark
    assert here.hash != there.hash


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"seq": 1}, id="a reserved name"),
        pytest.param({"kind": "decision"}, id="another reserved name"),
        pytest.param({"x": float("inf")}, id="no JSON number"),
        pytest.param({"x": "y" * MAX_LINE_BYTES}, id="too long"),
    ],
)
def test_what_makes_no_line_is_refused(fields: dict[str, Json]) -> None:
    assert compose(Kind.DECISION, {"x": "y"}, seq=1, prev="", at=NOW)
    with pytest.raises(ValueError):
        compose(Kind.DECISION, fields, seq=1, prev="", at=NOW)


GOOD = compose(Kind.DECISION, {"a": 1}, seq=2, prev=PREV, at=NOW).data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(GOOD[:-1], id="cut short"),
        pytest.param(GOOD + b"}", id="something after it"),
        pytest.param(GOOD.replace(b'"seq":2', b'"seq":02'), id="a leading zero"),
        pytest.param(GOOD.replace(b'"seq":2', b'"seq":0'), id="number zero"),
        pytest.param(GOOD.replace(b'"seq":2', b'"seq": 2'), id="a space in the prefix"),
        pytest.param(GOOD.replace(PREV.encode(), PREV[:-1].encode()), id="a hash too short"),
        pytest.param(GOOD.replace(b'"a":1', b'"seq":3'), id="a second seq"),
        pytest.param(GOOD.replace(b'"a":1', b'"prev":""'), id="a second prev"),
        pytest.param(GOOD.replace(b'"a":1', b'"a":1,"a":2'), id="a member twice"),
        pytest.param(GOOD.replace(b'"a":1', b'"a":NaN'), id="no JSON"),
        pytest.param(GOOD.replace(b'"a":1', '"a":"é"'.encode()), id="not ASCII"),
        pytest.param(GOOD.replace(b'"kind":"decision"', b'"kind":5'), id="a kind that is no string"),
        pytest.param(GOOD.replace(b'"kind":"decision"', b'"b":5'), id="no kind"),
        pytest.param(GOOD.replace(b"09:30", b"25:30"), id="no such time"),
        pytest.param(GOOD.replace(b".000000Z", b"Z"), id="a time without microseconds"),
        pytest.param(GOOD.replace(b".000000Z", b".000000+00:00"), id="a time not in Z"),
        pytest.param(GOOD.replace(b'"a":1', b'"a":' + b"[" * 16_000 + b"]" * 16_000), id="bottomless"),
        pytest.param(GOOD.replace(b'"a":1', b'"a":"' + b"x" * MAX_LINE_BYTES + b'"'), id="too long"),
    ],
)
def test_a_line_that_is_not_ours_is_rejected(data: bytes) -> None:
    assert read_line(GOOD).seq == 2
    with pytest.raises(Rejected) as caught:
        read_line(data)
    assert caught.value.code is Code.JOURNAL_INVALID


@given(
    st.binary(max_size=80)
    | st.builds(lambda at, byte: GOOD[:at] + bytes([byte]) + GOOD[at:], st.integers(0, 120), st.integers(0, 255))
)
def test_reading_raises_nothing_but_rejected(data: bytes) -> None:
    try:
        read_line(data)
    except Rejected as fault:
        assert fault.code is Code.JOURNAL_INVALID


# --- names and times -------------------------------------------------------------------------------------------------


def test_a_file_is_named_by_slot_and_boot() -> None:
    file = JournalFile(slot=slot_of("edge-1", 12), boot=boot_name(NOW, b"\x01\x02\xfe\xff"))
    assert file.name == "edge-1-12-20260302T093000000000Z0102feff.jsonl"
    assert file_named(file.name) == file
    assert file.opened_at == NOW


@pytest.mark.parametrize(
    "name",
    [
        "edge-1-12.jsonl",
        "-20260302T093000000000Z0102feff.jsonl",
        "edge-1-12-20260302T093000000000Z0102FEFF.jsonl",
        "edge-1-12-20261302T093000000000Z0102feff.jsonl",
        "edge-1-12-20260302T093000000000Z0102feff.jsonl~",
        "../e-1-20260302T093000000000Z0102feff.jsonl",
    ],
)
def test_another_name_is_none(name: str) -> None:
    assert file_named(name) is None


@pytest.mark.parametrize(
    ("node", "worker"), [("", 0), ("Edge", 0), ("a/b", 0), ("-a", 0), ("a" * 65, 0), ("a", -1), ("a", 10_000)]
)
def test_a_slot_that_could_be_no_file_is_rejected(node: str, worker: int) -> None:
    assert slot_of("a" * 64, 9_999)
    with pytest.raises(Rejected) as caught:
        slot_of(node, worker)
    assert caught.value.code is Code.CONFIG_INVALID


def test_one_moment_has_one_spelling() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert stamp(elsewhere) == stamp(NOW) == "2026-03-02T09:30:00.000000Z"
    assert read_stamp(stamp(elsewhere)) == NOW


@pytest.mark.parametrize(
    "text", [None, 5, "", "2026-03-02T09:30:00Z", "2026-02-30T09:30:00.000000Z", "2026-03-02 09:30:00.000000Z"]
)
def test_another_spelling_is_rejected(text: Json) -> None:
    with pytest.raises(Rejected) as caught:
        read_stamp(text)
    assert caught.value.code is Code.JOURNAL_INVALID
