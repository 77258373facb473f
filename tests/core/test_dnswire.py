"""Questions and answers, byte by byte; and that mitmproxy's own reader takes our answers for what they are."""

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import dns

from proxy.core.dnswire import Query, Rcode, Wanted, address_of, nothing_of, read_query, wanted

A, TXT, AAAA, OPT, HTTPS, ANY = 1, 16, 28, 41, 65, 255
GIVEN = IPv4Address("198.18.7.7")
EDNS = b"\0" + struct.pack("!2HIH", OPT, 4096, 0x8000, 0)


def name(text: str) -> bytes:
    return b"".join(bytes([len(each)]) + each for each in text.encode("latin-1").split(b".") if each) + b"\0"


def asks(
    text: str = "erp.example",
    kind: int = A,
    *,
    flags: int = 0x0100,
    counts: tuple[int, ...] = (1, 0, 0, 0),
    space: int = 1,
    after: bytes = b"",
) -> bytes:
    return struct.pack("!6H", 7, flags, *counts) + name(text) + struct.pack("!2H", kind, space) + after


def read(data: bytes) -> Query:
    query = read_query(data)
    assert query is not None
    return query


def test_a_question_is_read_and_its_name_is_as_calls_have_it() -> None:
    query = read(asks("ERP.Example"))
    assert (query.id, query.name, query.kind, query.edns, query.fault) == (7, "erp.example", A, False, None)
    assert query.question == name("ERP.Example") + b"\0\1\0\1"
    assert read(asks(counts=(1, 0, 0, 1), after=EDNS)).edns


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        pytest.param(asks(flags=0x2800), Rcode.NOTIMP, id="an update"),
        pytest.param(asks(counts=(0, 0, 0, 0)), Rcode.FORMERR, id="no question"),
        pytest.param(asks(counts=(2, 0, 0, 0)), Rcode.FORMERR, id="two questions"),
        pytest.param(asks(counts=(1, 1, 0, 0)), Rcode.FORMERR, id="an answer in a question"),
        pytest.param(asks(counts=(1, 0, 1, 0)), Rcode.FORMERR, id="an authority in a question"),
        pytest.param(asks(counts=(1, 0, 0, 2), after=EDNS + EDNS), Rcode.FORMERR, id="two more records"),
        pytest.param(asks(flags=0x0300), Rcode.FORMERR, id="one that was cut"),
        pytest.param(asks(after=b"x"), Rcode.FORMERR, id="something behind it"),
        pytest.param(asks(counts=(1, 0, 0, 1), after=EDNS + b"x"), Rcode.FORMERR, id="something behind its options"),
        pytest.param(asks(counts=(1, 0, 0, 1), after=b"\0" + EDNS[3:]), Rcode.FORMERR, id="options cut short"),
        pytest.param(asks(counts=(1, 0, 0, 1), after=b"\1" + EDNS[1:]), Rcode.FORMERR, id="options of a name"),
        pytest.param(
            asks(counts=(1, 0, 0, 1), after=b"\0" + struct.pack("!2HIH", A, 1, 0, 0)),
            Rcode.FORMERR,
            id="another record",
        ),
        pytest.param(
            asks(counts=(1, 0, 0, 1), after=b"\0" + struct.pack("!2HIH", OPT, 512, 0x10000, 0)),
            Rcode.BADVERS,
            id="a later EDNS",
        ),
        pytest.param(asks(space=3), Rcode.REFUSED, id="another class"),
        pytest.param(asks()[:-4], Rcode.FORMERR, id="a question without its kind"),
        pytest.param(asks()[:14], Rcode.FORMERR, id="a name without its end"),
        pytest.param(struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", Rcode.FORMERR, id="a pointer"),
        pytest.param(asks(".".join(["a" * 63] * 4)), Rcode.FORMERR, id="a name that is too long"),
    ],
)
def test_what_is_odd_is_answered_with_its_fault(data: bytes, fault: Rcode) -> None:
    query = read(data)
    assert query.fault is fault
    answer = nothing_of(query, fault)
    assert answer[:2] == b"\0\7" and answer[2] & 0x80 and answer[3] & 0x0F == fault & 0x0F
    assert len(answer) <= len(data) + 64


@pytest.mark.parametrize("data", [b"", asks()[:11], asks(flags=0x8180)], ids=["nothing", "no head", "an answer"])
def test_nobody_answers_what_is_no_question(data: bytes) -> None:
    assert read_query(data) is None


@pytest.mark.parametrize(
    ("text", "kind", "answered"),
    [
        pytest.param("erp.example", A, Wanted.ADDRESS, id="an address"),
        pytest.param("intent.internal", A, Wanted.ADDRESS, id="the proxy's own name"),
        pytest.param("erp.example", AAAA, Wanted.NOTHING, id="an IPv6 address"),
        pytest.param("erp.example", HTTPS, Wanted.NOTHING, id="how to speak HTTPS"),
        pytest.param("erp.example", TXT, Wanted.REFUSED, id="text"),
        pytest.param("erp.example", ANY, Wanted.REFUSED, id="anything"),
        pytest.param("erp.example.svc.cluster.local", A, Wanted.ABSENT, id="a search domain"),
        pytest.param("svc.cluster.local", AAAA, Wanted.ABSENT, id="the search domain itself"),
        pytest.param("xsvc.cluster.local", A, Wanted.ADDRESS, id="a name that only ends like it"),
        pytest.param("10.0.0.1", A, Wanted.REFUSED, id="an address for a name"),
        pytest.param("", A, Wanted.REFUSED, id="the root"),
        pytest.param("a b.example", A, Wanted.REFUSED, id="a blank"),
        pytest.param("caf\xe9.example", A, Wanted.REFUSED, id="letters that are no host's"),
    ],
)
def test_what_a_question_is_answered_with(text: str, kind: int, answered: Wanted) -> None:
    assert wanted(read(asks(text, kind)), ("svc.cluster.local",)) is answered


def test_a_dot_within_a_label_is_no_name() -> None:
    data = struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\x0berp.example\0" + b"\0\1\0\1"
    assert read(data).name is None


@pytest.mark.parametrize("more", [{}, {"counts": (1, 0, 0, 1), "after": EDNS}], ids=["plain", "with EDNS"])
def test_another_reader_understands_the_answers(more: dict[str, object]) -> None:
    query = read(asks("Erp.example", **more))  # type: ignore[arg-type]
    found = dns.DNSMessage.unpack(address_of(query, GIVEN))
    assert (found.id, found.response_code, found.questions[0].name) == (7, 0, "Erp.example")
    assert [(str(each.ipv4_address), each.ttl) for each in found.answers] == [("198.18.7.7", 30)]
    nothing = dns.DNSMessage.unpack(nothing_of(query, Rcode.NOERROR))
    assert (nothing.answers, [each.type for each in nothing.authorities]) == ([], [6])
    absent = dns.DNSMessage.unpack(nothing_of(query, Rcode.NXDOMAIN))
    assert absent.response_code == 3
    refused = dns.DNSMessage.unpack(nothing_of(query, Rcode.REFUSED))
    assert (refused.response_code, refused.authorities, refused.questions[0].name) == (5, [], "Erp.example")


@given(st.binary(max_size=300))
def test_nothing_makes_the_reader_fail_and_no_answer_is_much_longer(data: bytes) -> None:
    query = read_query(data)
    if query is not None:
        for rcode in (query.fault or Rcode.NXDOMAIN, Rcode.REFUSED):
            assert len(nothing_of(query, rcode)) <= len(data) + 64
        assert len(address_of(query, GIVEN)) <= len(data) + 64
