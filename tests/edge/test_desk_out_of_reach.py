"""No agent reaches the review desk through the proxy: under any spelling of where it is, in any way in (THREATS F02).

Whatever is spelled here the mandate grants as far as a mandate can. What counts is what the desk's listeners saw, on
both loopback addresses, and the server before it, which answers for other hosts, too: nothing, save for the twin.
"""

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import identities
import pytest
import rawclient
import requests
from certs import Authority
from clirun import free_port
from h2client import Http2Wire, fields
from houses import House, house
from origins import Origin, Reply
from sidecars import Beside, sidecar

from proxy.agent.sidecar.bodies import Room
from proxy.agent.signer import Signer
from proxy.core.errors import Rejected

pytestmark = pytest.mark.system

CLUSTERS = """\
version: 1
clusters:
  - id: supplier-invoices
    risk: routine
    hosts: [erp.example, desk.example, localhost, desk.localhost, "*.nip.example", 127.0.0.1, 127.8.9.10, "::1"]
    schemes: [http, https]
    ports: [{desk}, {front}, 80, 443, 8443]
    addresses: [127.0.0.0/8, "::1/128"]
    http2: true
    operations: [{{name: ask, methods: [GET], path: "/{{any:rest}}"}}]
"""
NAMES: Mapping[str, Sequence[object]] = {
    **{name: ["127.0.0.1"] for name in ("erp.example", "desk.example", "localhost", "desk.localhost")},
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "7f000001.nip.example": ["127.0.0.1"],
    "app-127-0-0-1.nip.example": ["127.0.0.1"],
    "another.nip.example": ["127.8.9.10"],
    "mapped.nip.example": ["::ffff:127.0.0.1"],
    "six.nip.example": ["::1"],
    "zero.nip.example": ["0.0.0.0"],
    "unspecified.nip.example": ["::"],
    "both.nip.example": ["127.0.0.1", "::1"],
    "rebinds.nip.example": [["127.0.0.1"], ["127.0.0.2"]],
    "mixed.nip.example": ["93.184.215.14", "127.0.0.1"],
    "0x7f000001": ["127.0.0.1"],
    "0177.0.0.1": ["127.0.0.1"],
}

SELF = ("guard.self",)
ODD = ("url.ambiguous", "closed", "request.malformed")
REFUSED = (*SELF, *ODD, "guard.address", "mandate.not_covered", "sidecar.untrusted", "bad_request")

SPELLINGS: Mapping[str, tuple[str, tuple[str, ...]]] = {  # what is asked for, and the codes of which it gets one
    "by its address": ("127.0.0.1:{desk}", SELF),
    "by another address of loopback": ("127.8.9.10:{desk}", SELF),
    "by a padded port": ("127.0.0.1:0{desk}", SELF),
    "by a port padded far": ("127.0.0.1:000{desk}", (*SELF, *ODD)),
    "by IPv6 loopback": ("[::1]:{desk}", SELF),
    "by IPv6 loopback written out": ("[0:0:0:0:0:0:0:1]:{desk}", SELF),
    "by IPv6 loopback with zeros": ("[0000:0000:0000:0000:0000:0000:0000:0001]:{desk}", SELF),
    "by IPv6 loopback with an IPv4 end": ("[::0.0.0.1]:{desk}", SELF),
    "by its address mapped into IPv6": ("[::ffff:127.0.0.1]:{desk}", SELF),
    "by its address mapped in hexadecimal": ("[::FFFF:7F00:1]:{desk}", SELF),
    "by its address mapped and written out": ("[0:0:0:0:0:ffff:7f00:0001]:{desk}", SELF),
    "by its address as IPv4-compatible": ("[::127.0.0.1]:{desk}", ("guard.address",)),
    "by its address in NAT64": ("[64:ff9b::127.0.0.1]:{desk}", ("guard.address",)),
    "by its address in 6to4": ("[2002:7f00:1::]:{desk}", ("guard.address",)),
    "with a zone": ("[::1%25lo]:{desk}", ODD),
    "by the unspecified address": ("0.0.0.0:{desk}", SELF),
    "by the unspecified IPv6 address": ("[::]:{desk}", SELF),
    "by the unspecified address mapped": ("[::ffff:0.0.0.0]:{desk}", SELF),
    "by a short address": ("127.1:{desk}", ODD),
    "by three numbers": ("127.0.1:{desk}", ODD),
    "by one number": ("2130706433:{desk}", ODD),
    "by one octal number": ("017700000001:{desk}", ODD),
    "by octal parts": ("0177.0.0.1:{desk}", ODD),
    "by padded parts": ("127.000.000.001:{desk}", ODD),
    "by a hexadecimal number": ("0x7f000001:{desk}", ODD),
    "by hexadecimal parts": ("0x7f.0x0.0x0.0x1:{desk}", ODD),
    "by zero": ("0:{desk}", ODD),
    "with a dot at its end": ("127.0.0.1.:{desk}", (*SELF, *ODD)),
    "with two dots at its end": ("localhost..:{desk}", ODD),
    "by localhost": ("localhost:{desk}", SELF),
    "by localhost in capitals": ("LOCALHOST:{desk}", SELF),
    "by localhost with a dot": ("localhost.:{desk}", SELF),
    "by a name below localhost": ("desk.localhost:{desk}", SELF),
    "by a name that says its address": ("127.0.0.1.nip.example:{desk}", SELF),
    "by a name that says it in hexadecimal": ("7f000001.nip.example:{desk}", SELF),
    "by a name that says it with dashes": ("app-127-0-0-1.nip.example:{desk}", SELF),
    "by a name that leads to another loopback address": ("another.nip.example:{desk}", SELF),
    "by a name that leads to a mapped address": ("mapped.nip.example:{desk}", SELF),
    "by a name that leads to IPv6 loopback": ("six.nip.example:{desk}", SELF),
    "by a name that leads to 0.0.0.0": ("zero.nip.example:{desk}", SELF),
    "by a name that leads to ::": ("unspecified.nip.example:{desk}", SELF),
    "by a name that leads to both": ("both.nip.example:{desk}", SELF),
    "by a name that leads elsewhere the next time": ("rebinds.nip.example:{desk}", SELF),
    "by a name that leads to another host, too": ("mixed.nip.example:{desk}", (*SELF, "guard.address")),
    "behind a user": ("erp.example@127.0.0.1:{desk}", ODD),
    "behind a user and a password": ("erp.example:{front}@localhost:{desk}", ODD),
    "with digits of another script": ("１２７.0.0.1:{desk}", ODD),
    "with dots of another script": ("127。0。0。1:{desk}", ODD),
    "with letters in circles": ("ⓛocalhost:{desk}", ODD),
    "with an escape": ("%6cocalhost:{desk}", ODD),
    "with a tab": ("localhost\t:{desk}", (*ODD, "")),
    "with a backslash": ("erp.example\\@localhost:{desk}", ODD),
    "by its own name": ("desk.example:{front}", SELF),
    "by its own name in capitals": ("DESK.Example:{front}", SELF),
    "by its own name with a dot": ("desk.example.:{front}", SELF),
    "by its own name at its listener's port": ("desk.example:{desk}", SELF),
    "by its own name at another port": ("desk.example:8443", SELF),
}
NO_TUNNEL = {"with a tab"}  # a CONNECT line is split at it


@dataclass(frozen=True, kw_only=True)
class Place:
    """A running node, and who listens where."""

    house: House
    desk: int
    front: Origin
    listeners: tuple[Origin, ...]
    sidecars: Mapping[str, Beside]

    def fill(self, authority: str) -> str:
        return authority.format(desk=self.desk, front=self.front.port)

    @property
    def seen(self) -> list[int]:
        return [len(each.connections) for each in self.listeners]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, authority, desk = tmp_path_factory.mktemp("place"), Authority(), free_port()
    with ExitStack() as opened:
        leaf = authority.server("erp.example")
        front = opened.enter_context(Origin(tls=leaf))
        own = [opened.enter_context(Origin(host=host, port=desk)) for host in ("127.0.0.1", "::1")]
        plain = opened.enter_context(Origin(host="127.0.0.2", port=front.port))
        extra = (
            f"upstream_cas: [{authority.write(folder)}]\n"
            f'tls: {{listen: "127.0.0.1:0"}}\n'
            f'desk: {{listen: "127.0.0.1:{desk}", url: "https://desk.example:{front.port}"}}\n'
        )
        names = {**NAMES, "plain.nip.example": ["127.0.0.2"]}
        text = CLUSTERS.format(desk=desk, front=front.port)
        running = opened.enter_context(house(folder / "node", clusters=text, extra=extra, names=names))
        signer = Signer(running.root(), identities.key(identities.AGENT), task="T-1")
        url = "http://{}:{}".format(*running.address)
        beside = {
            name: opened.enter_context(sidecar(url, running.ca, signer, own_ca=own_ca, room=Room(each=1 << 20)))
            for name, own_ca in (("sidecar", None), ("signing sidecar", folder / "own"))
        }
        yield Place(house=running, desk=desk, front=front, listeners=(*own, front, plain), sidecars=beside)


def signed(place: Place, method: str, url: str) -> Sequence[tuple[str, str]]:
    """Headers for a call; where such a URL cannot be signed, those of a good one."""
    chain = place.house.chain()
    try:
        return place.house.signed(method, url, chain=chain)
    except (Rejected, ValueError):
        return place.house.signed(method, "http://erp.example/", chain=chain)


def code_of(answer: rawclient.Response) -> str:
    try:
        return str(json.loads(answer.body)["code"]) if answer.status >= 400 else ""
    except (ValueError, KeyError):
        return "bad_request" if answer.status == 400 else f"{answer.status}"


def host_of(authority: str) -> str | None:
    host = authority.rpartition(":")[0].rstrip(".")
    return host if host.isascii() and host.replace(".", "").replace("-", "").isalnum() and host else None


def asked(wire: rawclient.Wire, method: str, target: str, lines: Sequence[tuple[str, str]]) -> rawclient.Response:
    """One request whose bytes nobody tidies up."""
    head = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines), "", ""]
    wire.send("\r\n".join(head).encode("utf-8"))
    return wire.response(to=method)


def absolute(place: Place, authority: str, address: tuple[str, int], *, tls: bool = False, sign: bool = True) -> str:
    url = f"http://{authority}/queue"
    trust = place.house.ca if tls else None
    with closing(rawclient.connect(address, tls=trust, sni="localhost" if tls else None)) as wire:
        return code_of(asked(wire, "GET", url, [("Host", authority), *(signed(place, "GET", url) if sign else ())]))


def tunnelled(
    place: Place,
    authority: str,
    address: tuple[str, int],
    *,
    ca: Path | None,
    alpn: Sequence[str] = (),
    sign: bool = True,
) -> str:
    with closing(rawclient.connect(address)) as wire:
        answer = asked(wire, "CONNECT", authority, [("Host", authority)])
        if answer.status != 200:
            return code_of(answer) if answer.body else "closed"
        wire.start_tls(ca, sni=host_of(authority), check_name=False, **({"alpn": tuple(alpn)} if alpn else {}))
        url = f"https://{authority}/queue"
        if alpn and wire.tls is not None and wire.tls.alpn == "h2":
            with Http2Wire(wire) as inside:
                chain = place.house.chain()
                return inside.answer(inside.send(fields(place.house, "GET", url, chain=chain))).code
        return code_of(
            asked(wire, "GET", "/queue", [("Host", authority), *(signed(place, "GET", url) if sign else ())])
        )


WAYS: Mapping[str, Callable[[Place, str], str]] = {
    "absolute form": lambda place, authority: absolute(place, authority, place.house.address),
    "absolute form over TLS": lambda place, authority: absolute(place, authority, place.house.tls_address, tls=True),
    "a tunnel": lambda place, authority: tunnelled(place, authority, place.house.address, ca=place.house.ca),
    "a tunnel with HTTP/2": lambda place, authority: tunnelled(
        place, authority, place.house.address, ca=place.house.ca, alpn=("h2", "http/1.1")
    ),
    "the sidecar": lambda place, authority: absolute(place, authority, place.sidecars["sidecar"].address, sign=False),
    "a tunnel by the sidecar": lambda place, authority: tunnelled(
        place, authority, place.sidecars["sidecar"].address, ca=place.house.ca, sign=False
    ),
    "a tunnel by a sidecar that signs what is inside": lambda place, authority: tunnelled(
        place, authority, place.sidecars["signing sidecar"].address, ca=place.sidecars["signing sidecar"].ca, sign=False
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_under_no_spelling_does_a_call_reach_the_desk(place: Place, way: str) -> None:
    through_sidecar = "sidecar" in way
    twin = "plain.nip.example" if way.startswith(("absolute", "the sidecar")) else "erp.example"
    before = place.seen
    assert WAYS[way](place, f"{twin}:{place.front.port}") == ""  # the twin: another host on the same server passes
    after = place.seen
    assert sum(after) == sum(before) + 1, "the twin reached nobody"
    told: dict[str, str] = {}
    for name, (spelling, codes) in SPELLINGS.items():
        if "tunnel" in way and name in NO_TUNNEL:
            continue
        try:
            told[name] = WAYS[way](place, place.fill(spelling))
        except (rawclient.Broken, ssl.SSLError, OSError):
            told[name] = "closed"
        wanted = (*REFUSED, *codes, "400", "403") if through_sidecar else codes
        assert told[name] in wanted, f"{name}: {told[name]}"
        assert place.seen == after, f"{name}: somebody was reached"
    assert len(told) >= 40


def test_a_redirect_to_the_desk_is_followed_into_a_refusal(place: Place) -> None:
    beside = place.sidecars["signing sidecar"]
    for number, where in enumerate(("localhost:{desk}", "desk.example:{front}", "127.0.0.1:{desk}", "[::1]:{desk}")):
        path = f"/go/{number}"
        location = f"https://{place.fill(where)}/queue"
        place.front.on("GET", path, Reply(status=307, headers=(("Location", location),)))
        before = [len(each.connections) for each in place.listeners[:2]], len(place.front.requests)
        answer = requests.get(
            place.front.url(path, host="erp.example"),
            proxies=beside.proxies,
            verify=str(beside.ca),
            timeout=20,
        )
        assert (answer.status_code, answer.json()["code"], answer.url) == (403, "guard.self", location)
        assert len(answer.history) == 1  # the twin: what redirected was reached
        seen = [len(each.connections) for each in place.listeners[:2]], len(place.front.requests)
        assert seen == (before[0], before[1] + 1)


def test_what_is_refused_so_is_never_held(place: Place) -> None:
    """Nobody is asked, so nobody can release it."""
    chain = place.house.chain()
    url = place.fill("https://desk.example:{front}/holds/x/release")
    answer = place.house.call("POST", url, chain=chain)
    assert (answer.status, code_of(answer)) == (403, "guard.self")
    assert place.house.call("POST", place.front.url("/x", host="erp.example"), chain=chain).header("retry-after")
    assert "desk.example" not in place.house.looked_up
    with socket.create_connection(("127.0.0.1", place.desk)):  # the twin: without the proxy it is there
        pass
