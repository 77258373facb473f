"""The first line of a chain: as its node signed it, or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import NOW, bundle, key

from proxy.audit.lines import JournalFile, Kind, boot_name, compose, read_line
from proxy.audit.starts import Previous, compose_start, read_start
from proxy.core.encoding import Json, b64u
from proxy.core.errors import Code, Rejected
from proxy.core.keys import ES256, sign

NODE = key("node")
KEYS = {NODE.public.kid: NODE.public}
FILE = JournalFile(slot="edge-1-0", boot=boot_name(NOW, b"abcd"))
PREVIOUS = Previous(file="edge-1-0-20260302T092959000000Z00000000.jsonl", seq=7, head="A" * 43, torn_bytes=3)
START = compose_start(bundle(), FILE, "edge-1", PREVIOUS, at=NOW, key=NODE)


@pytest.mark.parametrize("alg", ["Ed25519", ES256])
@pytest.mark.parametrize("previous", [PREVIOUS, None], ids=["after another chain", "the first of its slot"])
def test_what_is_signed_is_read_again(alg: str, previous: Previous | None) -> None:
    signer = key("node", alg)
    line = read_line(compose_start(bundle(), FILE, "edge-1", previous, at=NOW, key=signer).data)
    start = read_start(line, {signer.public.kid: signer.public})
    assert (start.node, start.slot, start.boot, start.kid) == ("edge-1", FILE.slot, FILE.boot, signer.public.kid)
    assert (start.bundle_version, start.bundle_signed, start.previous) == (1, True, previous)


def edited(**changes: Json) -> bytes:
    """The start line with other members and its old signature."""
    members = {**json.loads(START.data), **changes}
    fields = {name: value for name, value in members.items() if name not in ("seq", "prev", "at", "kind")}
    return compose(Kind(str(members["kind"])), fields, seq=1, prev="", at=NOW).data


@pytest.mark.parametrize(
    ("data", "field"),
    [
        pytest.param(edited(node="edge-2"), "sig", id="another node"),
        pytest.param(edited(boot="x"), "sig", id="another boot"),
        pytest.param(edited(previous=None), "sig", id="the chain before left out"),
        pytest.param(edited(bundle={"sha256": "", "signed": True, "version": 1}), "sig", id="other rules"),
        pytest.param(edited(extra=1), "sig", id="one more member"),
        pytest.param(edited(sig=b64u(b"\0" * 64)), "sig", id="another signature"),
        pytest.param(edited(sig="?"), "sig", id="no signature"),
        pytest.param(edited(sig=5), "sig", id="a number for a signature"),
        pytest.param(edited(sig=b64u(sign(NODE, START.data))), "sig", id="signed by the node, as something else"),
        pytest.param(START.data.replace(b'"node":"', b'"node": "'), "sig", id="spelt otherwise"),
        pytest.param(START.data.replace(b'"version":1', b'"version":1e999'), "sig", id="an endless number"),
        pytest.param(edited(kid=key("intruder").public.kid), "kid", id="another key"),
        pytest.param(edited(kid=None), "kid", id="no key"),
        pytest.param(edited(kind="decision"), "kind", id="another kind"),
        pytest.param(edited(format=2), "kind", id="another format"),
        pytest.param(START.data.replace(b'"seq":1', b'"seq":2'), "kind", id="not the first line"),
        pytest.param(START.data.replace(b'"prev":""', b'"prev":"' + b"A" * 43 + b'"'), "kind", id="a line before it"),
    ],
)
def test_anything_else_is_rejected(data: bytes, field: str) -> None:
    assert read_start(read_line(START.data), KEYS).node == "edge-1"
    with pytest.raises(Rejected) as caught:
        read_start(read_line(data), KEYS)
    assert (caught.value.code, caught.value.field) == (Code.JOURNAL_INVALID, field)


@pytest.mark.parametrize(
    "change",
    [{"previous": 5}, {"previous": {}}, {"previous": {"file": "x", "seq": -1}}, {"bundle": 5}, {"node": 5}],
    ids=str,
)
def test_what_a_node_signed_but_no_node_would_say_is_rejected(change: dict[str, Json]) -> None:
    fields = {
        name: value for name, value in json.loads(edited(**change)).items() if name not in ("seq", "prev", "at", "kind")
    }
    del fields["sig"]
    unsigned = compose(Kind.START, fields, seq=1, prev="", at=NOW).data
    fields["sig"] = b64u(sign(NODE, b"intent-journal-start\n" + unsigned))
    with pytest.raises(Rejected) as caught:
        read_start(read_line(compose(Kind.START, fields, seq=1, prev="", at=NOW).data), KEYS)
    assert caught.value.field != "sig"


@given(at=st.integers(0, len(START.data) - 1), bit=st.integers(0, 7))
def test_any_bit_flipped_is_rejected(at: int, bit: int) -> None:
    data = START.data[:at] + bytes([START.data[at] ^ 1 << bit]) + START.data[at + 1 :]
    with pytest.raises(Rejected) as caught:
        read_start(read_line(data), KEYS)
    assert caught.value.code is Code.JOURNAL_INVALID
