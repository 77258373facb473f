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

where `code`, `ways` and `looks_up` may also stand once for the whole file. Elsewhere it is Python, with a function
`cases(way)` that yields `Case`s.
"""

import importlib.util
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from houses import WAYS
from shots import LED, LED_CODES, Answer, Shot, fire
from streets import Street

TWIN_COUNTS_S = 2.0
"""A twin that many cases share is sent anew after this time, so that none of them rests on a proxy that is gone."""

type Act = Callable[[Street], Answer]


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
    shared: Shot | None = None  # the twin as a single call, the same for many cases

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
    attack = replace(base, **changes)
    assert attack != base, f"{threat}, {name}: an attack changes something"
    return Case(
        threat=threat,
        name=name,
        way=way,
        twin=lambda street: fire(street, way, base),
        attack=lambda street: fire(street, way, attack),
        code=code,
        reaches=reaches,
        looks_up=frozenset(looks_up),
        shared=base,
    )


def try_case(street: Street, case: Case) -> None:
    """The twin reaches its origin, with one request; of the attack nobody sees anything."""
    assert not (late := street.trace()).reached, f"this came after an earlier case had ended: {late}"
    _try_twin(street, case)
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
        codes = {case.code} if isinstance(case.code, str) else set(case.code)
        assert answer.code in codes | (LED_CODES if case.way == LED else set()), answer


def _try_twin(street: Street, case: Case) -> None:
    """Let the twin pass; one that other cases share counts for a moment after it did."""
    shared = None if case.shared is None else (case.way, case.shared, case.reaches)
    if shared is not None and time.monotonic() - street.passed.get(shared, -TWIN_COUNTS_S) < TWIN_COUNTS_S:
        return
    passed, after = case.twin(street), street.trace()
    assert passed.status == 200, f"the twin does not pass: {passed}"
    assert after.reached == {case.reaches}, f"the twin reached {set(after.reached)}"
    assert len(after.seen[case.reaches].requests) == 1, after
    if shared is not None:
        street.passed[shared] = time.monotonic()


# --- files -----------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"([A-G]\d\d)-[a-z0-9-]+\.(?:yaml|py)")


def corpus(folder: Path, ways: Sequence[str] = WAYS) -> dict[Path, list[Case]]:
    """Every case of every file of the corpus, over every way in of explicit mode, or over these."""
    found: dict[Path, list[Case]] = {}
    for path in sorted(folder.iterdir()):
        if _NAME.fullmatch(path.name):
            read = _from_yaml if path.suffix == ".yaml" else _from_python
            found[path] = [case for way in ways for case in read(path, way)]
            names = [str(case) for case in found[path]]
            wrong = [str(case) for case in found[path] if case.threat != path.name[:3] or names.count(str(case)) > 1]
            assert (found[path] or ways is not WAYS) and not wrong, f"{path.name}: {wrong or 'no case'}"
    return found


def _from_python(path: Path, way: str) -> list[Case]:
    spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", path.stem), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if way == LED and not getattr(module, "ANY_WAY", False):  # it opens its own connections
        return []
    return list(module.cases(way))


_ALSO_FOR_ALL = {"code", "ways", "looks_up", "led"}
_ENTRY = {"name", *_ALSO_FOR_ALL}
_FILE = {"threat", "title", "call", "reaches", "attacks", *_ALSO_FOR_ALL}


def _from_yaml(path: Path, way: str) -> Iterator[Case]:
    document = yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)
    assert _FILE >= document.keys() >= {"threat", "title", "attacks"}, f"{path.name}: {sorted(document)}"
    base = Shot(**_shot(document.get("call", {})))
    for attack in document["attacks"]:
        entry = {**{name: document[name] for name in _ALSO_FOR_ALL & document.keys()}, **attack}
        changes = _shot({name: value for name, value in attack.items() if name not in _ENTRY})
        if way in entry.get("ways", WAYS) or (way not in WAYS and _is_led(entry, base, changes)):
            yield against(
                document["threat"],
                entry["name"],
                way,
                base,
                changes,
                code=_code(entry, way),
                looks_up=entry.get("looks_up", ()),
                reaches=document.get("reaches", "home"),
            )


def _is_led(entry: Mapping[str, Any], base: Shot, changes: Mapping[str, Any]) -> bool:
    """Whether an agent that knows of no proxy can do this: what a CONNECT alone has, it cannot."""
    call = replace(base, **changes)
    by_name = base.authority[:1].isalpha()  # no address is a destination there
    return "tls" in entry.get("ways", WAYS) and call.connect_lines is None and call.proof != "tunnel" and by_name


def _code(entry: Mapping[str, Any], way: str) -> Any:
    """The code of the answer; where the network leads to the proxy as inside a tunnel, unless it is named apart."""
    code = entry["code"]
    if way not in WAYS and "led" in entry:
        return entry["led"]
    return code["tls" if way not in WAYS else way] if isinstance(code, dict) else code


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
