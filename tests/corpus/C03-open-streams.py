"""An answer still coming when the kill switch is thrown: the agent gets no more of it, and its origin is cut off."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import under_way
from attacks import Case
from shots import CLOSED, PROMISE_S, Answer, Shot, stop
from streets import Street

from proxy.core.control import Act

KINDS = {"an event stream": under_way.stream, "a large download": under_way.download}

type Kind = Callable[..., under_way.UnderWay]


def cases(way: str) -> Iterator[Case]:
    for name, kind in KINDS.items():
        yield Case(
            threat="C03",
            name=f"it is thrown while {name} is under way",
            way=way,
            twin=lambda street, kind=kind: _ends(street, way, kind, killed=False),
            attack=lambda street, kind=kind: _ends(street, way, kind, killed=True),
            undo=lambda street: stop(street, way, Act.KILL_OFF, "*", Shot()),
            code=CLOSED,
            may_see=frozenset({"home"}),
            dials=frozenset({"127.0.0.1"}),
            looks_up=frozenset({"erp.example"}),
        )


def _ends(street: Street, way: str, kind: Kind, *, killed: bool) -> Answer:
    with ExitStack() as ends:
        flow = kind(street.house, street.listeners["home"][way], street.chain(), ends)
        if killed:
            street.house.stop_by(Act.KILL_ON, "*")
            assert flow.aborted(PROMISE_S), "the origin still sends"
        whole = flow.goes_on() == under_way.WHOLE
    return Answer(status=200 if whole else 0, code="" if whole else CLOSED)
