"""Checkpoints: signed, complete, small enough to be a token."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import NOW, key

from proxy.audit.checkpoints import CHECKPOINT_TYP, MAX_MARKS, Durable, read_checkpoint, seal_checkpoints
from proxy.core.encoding import Json, b64u
from proxy.core.errors import Code, Rejected
from proxy.core.jws import MAX_TOKEN_BYTES, seal

NODE = key("node")
KEYS = {NODE.public.kid: NODE.public}
SLOT = "n" * 64 + "-9999"
FILE = f"{SLOT}-20260302T093000000000Z0102feff.jsonl"


def durable(count: int, first: int = 1) -> list[Durable]:
    digests = [b64u(hashlib.sha256(str(seq).encode()).digest()) for seq in range(first, first + count)]
    return [Durable(seq=first + place, hash=digest, mark=digest[:12]) for place, digest in enumerate(digests)]


def sealed(lines: list[Durable]) -> tuple[str, ...]:
    return seal_checkpoints(lines, node="n" * 64, slot=SLOT, file=FILE, at=NOW, key=NODE)


@pytest.mark.parametrize(("count", "tokens"), [(0, 0), (1, 1), (MAX_MARKS, 1), (MAX_MARKS + 1, 2), (3 * MAX_MARKS, 3)])
def test_every_line_is_sealed_once(count: int, tokens: int) -> None:
    lines = durable(count, first=10**14 - 5_000)
    made = sealed(lines)
    assert len(made) == tokens
    assert all(len(token) <= MAX_TOKEN_BYTES for token in made)
    read = [read_checkpoint(token, KEYS) for token in made]
    assert [mark for checkpoint in read for mark in checkpoint.marks()] == [(line.seq, line.mark) for line in lines]
    for checkpoint in read:
        assert (checkpoint.kid, checkpoint.node, checkpoint.slot) == (NODE.public.kid, "n" * 64, SLOT)
        assert (checkpoint.file, checkpoint.at) == (FILE, NOW)
        assert checkpoint.head == next(line.hash for line in lines if line.seq == checkpoint.seq)


CLAIMS: dict[str, Json] = {
    "node": "edge-1",
    "slot": "edge-1-0",
    "file": FILE,
    "from": 2,
    "seq": 3,
    "head": "A" * 43,
    "lines": "B" * 24,
    "at": "2026-03-02T09:30:00.000000Z",
}


@pytest.mark.parametrize(
    ("claims", "field"),
    [
        pytest.param({**CLAIMS, "from": 0, "lines": "B" * 48}, "lines", id="it begins before the first line"),
        pytest.param({**CLAIMS, "from": 4, "lines": ""}, "lines", id="it seals nothing"),
        pytest.param({**CLAIMS, "lines": "B" * 23}, "lines", id="a mark is short"),
        pytest.param({**CLAIMS, "lines": "B" * 12}, "lines", id="a mark is missing"),
        pytest.param({**CLAIMS, "seq": "3"}, "seq", id="a number is text"),
        pytest.param({**CLAIMS, "seq": True}, "seq", id="a number is a truth value"),
        pytest.param({**CLAIMS, "node": 1}, "node", id="a text is a number"),
        pytest.param({**CLAIMS, "at": "now"}, "at", id="no time"),
        pytest.param({**CLAIMS, "more": 1}, "claims", id="one claim more"),
        pytest.param({name: CLAIMS[name] for name in CLAIMS if name != "slot"}, "claims", id="one claim less"),
    ],
)
def test_what_no_node_would_seal_is_rejected(claims: dict[str, Json], field: str) -> None:
    assert read_checkpoint(seal(CLAIMS, typ=CHECKPOINT_TYP, key=NODE), KEYS).seq == 3
    with pytest.raises(Rejected) as caught:
        read_checkpoint(seal(claims, typ=CHECKPOINT_TYP, key=NODE), KEYS)
    assert (caught.value.code, caught.value.field) == (Code.JOURNAL_INVALID, field)


def test_another_key_type_or_statement_is_rejected() -> None:
    with pytest.raises(Rejected, match="not a known node key") as caught:
        read_checkpoint(seal(CLAIMS, typ=CHECKPOINT_TYP, key=key("intruder")), KEYS)
    assert caught.value.field == "kid"
    with pytest.raises(Rejected, match="must be of type"):
        read_checkpoint(seal(CLAIMS, typ="intent-control+jwt", key=NODE), KEYS)


TOKEN = sealed(durable(3))[0]


@given(at=st.integers(0, len(TOKEN) - 1), character=st.characters(max_codepoint=255))
def test_any_character_changed_is_rejected(at: int, character: str) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    if changed == TOKEN:
        return
    with pytest.raises(Rejected) as caught:
        read_checkpoint(changed, KEYS)
    assert caught.value.code is Code.JOURNAL_INVALID


@given(st.text(max_size=60))
def test_reading_raises_nothing_but_rejected(text: str) -> None:
    with pytest.raises(Rejected):
        read_checkpoint(text, KEYS)
