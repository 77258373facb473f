"""Attacks as data: a call, what an attacker changes in it, and the proof that only the unchanged call gets through.

A `Shot` is one call with every part an attacker may choose. A `Case` pairs an attack with its twin, the same call
without the attack: there is no case without one, and `try_case` fails unless the twin reaches its origin. What the
attack may reach is nothing: no listener sees a connection or a byte, no address is dialled, no name is looked up.

A file of the corpus is YAML where the attack is a matter of spelling,

    threat: A04
    title: hosts spelled so that two readers see two
    call: {path: /v1/invoices/17}              # the twin: fields of `Shot`, all of which have a default
    attacks:
      - name: userinfo that looks like the permitted host
        authority: "erp.example:{port}@evil.example:{port}"     # what the attack changes: fields of `Shot`
        code: url.ambiguous                                     # the stable code of the answer, or one for each way
        ways: [plain, tls]                                      # both, unless said otherwise
        looks_up: []                                            # names that may be resolved: none, unless said so

where `code`, `ways` and `looks_up` may also stand once for the whole file, and elsewhere Python with a function `cases(way)` that yields `Case`s.
"""

import importlib.util
import json
import re
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import identities
import rawclient
import yaml
from houses import WAYS
from streets import PUBLIC, Street

from proxy.core.errors import Rejected
from proxy.core.keys import PrivateKey

type Lines = list[tuple[str, str]]
type Act = Callable[[Street], "Answer"]

CLOSED = "closed"
"""In place of a code: the connection was closed without an answer."""

_PLAIN_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the agent got. `code` is "" for an origin's response."""

    status: int
    code: str
    response: rawclient.Response | None = None


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One call. In every text `{port}` stands for the origin's port and `{proxy}` for the proxy's own."""

    method: str = "GET"
    scheme: str = ""  # of the request target; "": http in absolute form, and none inside a tunnel
    authority: str = "erp.example:{port}"  # of the request target, and of CONNECT
    connect: str = ""  # of CONNECT, where it differs
    sni: str | None = ""  # "": the host of CONNECT; None: none is sent
    host: tuple[str, ...] | None = None  # the Host lines; None: the authority
    path: str = "/v1/invoices/17"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    declares: str = ""  # the cluster in Agent-Intent; "": no declaration
    clusters: tuple[str, ...] = ()  # what the mandate grants; () is `streets.USUAL`
    proof: str = "request"  # or "tunnel": CONNECT is signed in place of the request; or "none"
    edits: tuple[tuple[str, str], ...] = ()  # (these bytes of the finished request, what stands in their place)
    resolves_to: tuple[Any, ...] = ()  # what the host resolves to meanwhile
    # for attacks written in Python
    chain: Callable[[Street], Sequence[str]] | None = None  # the manifests it bears
    signer: PrivateKey | None = None  # the leaf's key unless told otherwise
    signs: "Shot | None" = None  # the call that is signed, where it is not this one
    spoil: Callable[[Lines], Lines] | None = None  # what happens to the header lines after signing
    age_s: int = 0  # how long ago it was signed

    def proof_lines(self, street: Street, way: str, *, connect: bool = False) -> Lines:
        """The header lines after Host with the agent's proof; of `connect`, those of CONNECT."""
        signs = self.signs or self
        intent = identities.intent_header(signs.declares) if signs.declares else ""
        chain = self.chain(street) if self.chain else street.chain(*signs.clusters)
        given = {
            "chain": chain,
            "intent": intent,
            "signer": self.signer,
            "created": datetime.now(UTC) - timedelta(seconds=self.age_s),
        }
        call = {"headers": signs.headers, "body": signs.body.encode() or None}
        try:
            if connect:
                lines = street.house.signed("CONNECT", signs.connect or signs.authority, **given)
            else:
                lines = street.house.signed(signs.method, signs.target_uri(way), **given, **call)
        except Rejected:  # no such URL can be signed, so it comes with a signature that is good for another
            lines = street.house.signed("GET", "http://erp.example/", **given, **call)
        return self.spoil(lines) if self.spoil else lines

    def target_uri(self, way: str) -> str:
        """What an honest signer of this call signs as its URL."""
        authority = self.authority if way == "plain" or self.host is None else self.host[0] if self.host else ""
        return f"{self.scheme.lower() or ('https' if way == 'tls' else 'http')}://{authority}{self.path}"

    def head(self, street: Street, way: str) -> bytes:
        """The request as bytes, body included."""
        scheme = self.scheme or ("http" if way == "plain" else "")
        target = f"{scheme}://{self.authority}{self.path}" if scheme else self.path
        hosts = (self.authority,) if self.host is None else self.host
        length = [("content-length", str(len(self.body)))] if self.body else []
        after = self.proof_lines(street, way) if self.proof == "request" else [*self.headers, *length]
        data = _request(self.method, target, [*(("Host", host) for host in hosts), *after]) + self.body.encode()
        for old, new in self.edits:
            assert old.encode() in data, f"nothing to edit: {old!r} is not in {data!r}"
            data = data.replace(old.encode(), new.encode(), 1)
        return data


def filled(shot: Shot, street: Street, way: str) -> Shot:
    """The shot with its placeholders filled in."""

    def fill(value: object) -> Any:
        match value:
            case str():
                return value.replace("{port}", str(street.port(way))).replace("{proxy}", str(street.house.address[1]))
            case tuple():
                return tuple(fill(item) for item in value)
            case Shot():
                return filled(value, street, way)
            case _:
                return value

    return replace(shot, **{each.name: fill(getattr(shot, each.name)) for each in fields(shot)})


def fire(street: Street, way: str, shot: Shot, *, address: tuple[str, int] | None = None) -> Answer:
    """Make one call over its own connection: in absolute form, or through CONNECT and TLS."""
    with closing(rawclient.connect(address or street.house.address)) as wire:
        return enter(wire, street, way, shot) or send(wire, street, way, shot)


def enter(wire: rawclient.Wire, street: Street, way: str, shot: Shot) -> Answer | None:
    """Make a fresh connection ready for the call: CONNECT and TLS where the way has them. An answer is a refusal."""
    if way == "plain":
        return None
    shot = filled(shot, street, way)
    asked = shot.connect or shot.authority
    proof = shot.proof_lines(street, way, connect=True) if shot.proof == "tunnel" else []
    wire.send(_request("CONNECT", asked, [("Host", asked), *proof]))
    refused = answer_of(wire, to="CONNECT")
    if refused.status != 200:
        return refused
    sni = _host(asked) if shot.sni == "" else shot.sni
    plain = sni is not None and _PLAIN_HOST.fullmatch(sni)
    try:
        wire.start_tls(street.house.ca, sni=sni if plain else None, check_name=False)
    except (ssl.SSLError, ConnectionError):
        return Answer(status=0, code=CLOSED)
    return None


def send(wire: rawclient.Wire, street: Street, way: str, shot: Shot) -> Answer:
    """Make one call on a connection that is ready for it."""
    shot = filled(shot, street, way)
    street.resolve(**({_host(shot.authority): shot.resolves_to} if shot.resolves_to else {}))
    wire.send(shot.head(street, way))
    return answer_of(wire, to=shot.method)


def answer_of(wire: rawclient.Wire, *, to: str = "GET") -> Answer:
    """The next answer on a connection."""
    try:
        response = wire.response(to=to)
    except (ssl.SSLError, ConnectionError, rawclient.Closed):
        return Answer(status=0, code=CLOSED)
    problem = response.header("content-type") == "application/problem+json"
    return Answer(
        status=response.status, code=json.loads(response.body)["code"] if problem else "", response=response
    )


def _request(method: str, target: str, lines: Sequence[tuple[str, str]]) -> bytes:
    text = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines), "", ""]
    return "\r\n".join(text).encode("utf-8", "surrogateescape")


def _host(authority: str) -> str:
    return authority.rpartition(":")[0].strip("[]") or authority


# --- cases -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """One attack over one way in, and its twin.

    `code` is the stable code of the refusal, or those it may be one of; None where nothing is refused, because the
    defence is that the attack changes nothing.
    """

    threat: str
    name: str
    way: str
    twin: Act  # must reach `reaches` with exactly one request
    attack: Act
    code: str | Collection[str] | None
    reaches: str = "home"
    arrange: Callable[[Street], object] | None = None  # what makes the attack one, between twin and attack
    undo: Callable[[Street], object] | None = None
    may_see: frozenset[str] = frozenset()  # listeners that may see the attack's own rightful calls
    dials: frozenset[str] = frozenset()  # addresses that these lead to
    looks_up: frozenset[str] = frozenset()  # names whose resolution is part of the attack

    def __str__(self) -> str:
        return f"{self.way}, {self.name}"


def against(
    threat: str,
    name: str,
    way: str,
    base: Shot,
    changes: Mapping[str, Any],
    *,
    code: str | Collection[str],
    looks_up: Sequence[str] = (),
    reaches: str = "home",
) -> Case:
    """The case of one call in which `changes` are the attack; without them it is the twin."""
    assert changes, f"{threat} {name}: an attack changes something"
    attack = replace(base, **changes)
    return Case(
        threat=threat,
        name=name,
        way=way,
        twin=lambda street: fire(street, way, base),
        attack=lambda street: fire(street, way, attack),
        code=code,
        reaches=reaches,
        looks_up=frozenset(looks_up),
    )


def try_case(street: Street, case: Case) -> None:
    """The twin reaches its origin, with one request; of the attack nobody sees anything."""
    assert not (late := street.trace()).reached, f"this came after an earlier case had ended: {late}"
    passed, after = case.twin(street), street.trace()
    assert passed.status == 200, f"the twin does not pass: {passed}"
    assert after.reached == {case.reaches}, f"the twin reached {set(after.reached)}"
    assert len(after.seen[case.reaches].requests) == 1, after
    try:
        if case.arrange is not None:
            case.arrange(street)
            street.trace()
        answer, after = case.attack(street), street.trace()
    finally:
        if case.undo is not None:
            case.undo(street)
            street.trace()
    assert after.reached <= case.may_see, f"{set(after.reached)} saw {after}"
    assert set(after.dialled) <= case.dials, f"dialled {after.dialled}"
    assert set(after.looked_up) <= case.looks_up, f"looked up {after.looked_up}"
    if case.code is None:
        assert answer.status < 300, answer
    else:
        assert answer.code in ([case.code] if isinstance(case.code, str) else case.code), answer


# --- files -----------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"([A-G]\d\d)-[a-z0-9-]+\.(?:yaml|py)")


def corpus(folder: Path) -> dict[Path, list[Case]]:
    """Every case of every file of the corpus, over every way in."""
    found: dict[Path, list[Case]] = {}
    for path in sorted(folder.iterdir()):
        if _NAME.fullmatch(path.name):
            read = _from_yaml if path.suffix == ".yaml" else _from_python
            found[path] = [case for way in WAYS for case in read(path, way)]
            names = [str(case) for case in found[path]]
            wrong = [str(case) for case in found[path] if case.threat != path.name[:3] or names.count(str(case)) > 1]
            assert found[path] and not wrong, f"{path.name}: {wrong or 'no case'}"
    return found


def _from_python(path: Path, way: str) -> list[Case]:
    spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", path.stem), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.cases(way))


_ALSO_FOR_ALL = {"code", "ways", "looks_up"}
_ENTRY = {"name", *_ALSO_FOR_ALL}
_FILE = {"threat", "title", "call", "reaches", "attacks", *_ALSO_FOR_ALL}


def _from_yaml(path: Path, way: str) -> Iterator[Case]:
    document = yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)
    assert _FILE >= document.keys() >= {"threat", "title", "attacks"}, f"{path.name}: {sorted(document)}"
    base = Shot(**_shot(document.get("call", {})))
    for attack in document["attacks"]:
        entry = {**{name: document[name] for name in _ALSO_FOR_ALL & document.keys()}, **attack}
        changes = _shot({name: value for name, value in attack.items() if name not in _ENTRY})
        code = entry["code"]
        if way in entry.get("ways", WAYS):
            yield against(
                document["threat"],
                entry["name"],
                way,
                base,
                changes,
                code=code[way] if isinstance(code, dict) else code,
                looks_up=entry.get("looks_up", ()),
                reaches=document.get("reaches", "home"),
            )


def _shot(members: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a `Shot` as YAML writes them: lists become tuples, and one Host line may stand by itself."""

    def frozen(value: Any) -> Any:
        return tuple(frozen(item) for item in value) if isinstance(value, list) else value

    known = {each.name for each in fields(Shot)}
    assert members.keys() <= known, f"not fields of a call: {sorted(members.keys() - known)}"
    given = {name: frozen(value) for name, value in members.items()}
    if isinstance(given.get("host"), str):
        given["host"] = (given["host"],)
    return given


__all__ = ["CLOSED", "PUBLIC", "WAYS", "Act", "Answer", "Case", "Shot", "Street", "against", "corpus", "fire"]
