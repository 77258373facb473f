"""Exceptions planted in a running worker, one function at a time, by whoever holds its control socket.

As a program, `planting.py SOCKET ARGUMENTS…` runs one worker of the proxy (`python -m proxy.edge.worker ARGUMENTS…`)
with this beside it. The product knows nothing of it: functions are traced and made to raise by the interpreter itself
(`sys.monitoring`, PEP 669), at their code object, so that no copied name or bound method escapes.

`Garden` is the test's end of the socket:

    garden.trace()
    ...                                     # one call through the proxy
    for name in garden.traced(until=...): ...
    garden.plant(name)                      # from now on it raises, whenever a client's call enters it
    ...
    assert garden.cure() > 0                # how often it did
"""

import asyncio
import functools
import gc
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from inspect import CO_COROUTINE
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

ROOT = Path(__file__).parents[2]
SCOPE = tuple(
    str(ROOT / name)
    for name in (
        "addons/",
        "proxy/gate.py",
        "proxy/judging.py",
        "proxy/injecting.py",
        "proxy/registry.py",
        "proxy/footing.py",
        "proxy/identity.py",
        "proxy/recalls.py",
        "proxy/waits.py",
        "proxy/news.py",
        "proxy/deciding.py",
        "proxy/granting.py",
        "proxy/claims.py",
        "proxy/delivering.py",
        "proxy/policy/inforce.py",
        "proxy/recording.py",
        "proxy/identify.py",
        "proxy/holding.py",
        "proxy/internal.py",
        "proxy/core/",
        "proxy/stores/",
        "proxy/audit/",
    )
)
"""Where functions are listed and made to fail: everything a decision, its record and its carrying out are made of."""

ENTERED, LEFT = "entered", "left"
"""The moments at which a function raises: before its first statement, or instead of returning what it made."""

SECRET = "planted-b0a5"
"""In the message of every planted exception: no answer may repeat it."""

PATIENCE_S = 2.0
"""For what happens after the agent has its answer."""

_TOOL = 4
_OWN_THREADS = (
    "journal",
    "resolve",
    "spool",
)  # executors whose jobs are made for calls, but do not inherit their context
_client_port: ContextVar[int] = ContextVar("client_port", default=0)


class Planted(Exception):
    """What a planted function raises; nothing in the product knows or expects it."""


class Plants:
    """The worker's end: listens to the interpreter, for as long as something is traced or planted."""

    def __init__(self) -> None:
        self._traced: dict[str, bool] = {}  # in the order of first entries -> whether it is a coroutine
        self._ports: set[int] = set()  # of clients that have connected
        self._others: set[int] = set()  # of these, those not to be traced
        self._planted: CodeType | None = None
        self._raises: type[BaseException] = Planted
        self._everywhere = False
        self._hits = 0
        sys.monitoring.use_tool_id(_TOOL, "plants")
        for event in (sys.monitoring.events.PY_START, sys.monitoring.events.PY_RETURN):
            sys.monitoring.register_callback(_TOOL, event, self._on_event)
        # A connection's tasks, and all they start, inherit the context in which its handler began.
        serve = sys.modules["proxy.edge.listen"].Listener._serve.__code__
        self._serve = serve
        sys.monitoring.set_local_events(_TOOL, serve, sys.monitoring.events.PY_START)

    # --- what the control socket asks --------------------------------------------------------------------------------

    def trace(self, port: int) -> None:
        self._traced, self._others = {}, self._ports - {port}
        sys.monitoring.set_events(_TOOL, sys.monitoring.events.PY_START)
        sys.monitoring.restart_events()

    def traced(self) -> dict[str, bool]:
        return dict(self._traced)

    def rest(self) -> None:
        sys.monitoring.set_events(_TOOL, 0)

    def plant(self, name: str, moment: str, raises: str, everywhere: bool) -> None:
        self._hits, self._everywhere = 0, everywhere
        self._raises = {"Planted": Planted, "CancelledError": asyncio.CancelledError, "SystemExit": SystemExit}[raises]
        self._planted = _by_name()[name]
        events = sys.monitoring.events
        sys.monitoring.set_local_events(
            _TOOL, self._planted, events.PY_START if moment == ENTERED else events.PY_RETURN
        )

    def hits(self) -> int:
        return self._hits

    def cure(self) -> int:
        if self._planted is not None:
            sys.monitoring.set_local_events(_TOOL, self._planted, 0)
            self._planted = None
        return self._hits

    # --- what the interpreter says -----------------------------------------------------------------------------------

    def _on_event(self, code: CodeType, *_: object) -> object:
        if code is self._serve:
            port: int = sys._getframe(1).f_locals["writer"].get_extra_info("peername")[1]
            self._ports.add(port)
            self._others.discard(port)  # a port is used again
            _client_port.set(port)
            return None
        if code is self._planted:
            if self._everywhere or _for_a_client():
                self._hits += 1
                raise self._raises(f"{SECRET} in {code.co_qualname}")
            return None
        if not _in_scope(code):
            return sys.monitoring.DISABLE
        wanted = _for_a_client() and _client_port.get() not in self._others
        if wanted and not code.co_name.startswith("<"):  # lambdas and comprehensions are part of a function
            self._traced.setdefault(_name(code), bool(code.co_flags & CO_COROUTINE))
        return None


def _for_a_client() -> bool:
    return _client_port.get() != 0 or threading.current_thread().name.startswith(_OWN_THREADS)


def _name(code: CodeType) -> str:
    module = str(Path(code.co_filename).relative_to(ROOT).with_suffix("")).replace("/", ".")
    return f"{module}:{code.co_qualname}"


@functools.cache
def _by_name() -> dict[str, CodeType]:
    """Every function in scope, whoever holds it and under whatever name."""
    gc.unfreeze()  # a worker freezes what it has made when it is ready
    functions = [each.__code__ for each in gc.get_objects() if isinstance(each, FunctionType)]
    return {_name(code): code for top in functions for code in _with_inner(top) if _in_scope(code)}


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


def _in_scope(code: CodeType) -> bool:
    return code.co_filename.startswith(SCOPE)


def serve(path: str) -> None:
    """Answer one control connection after the other, in a thread of its own."""
    plants = Plants()
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def answer() -> None:
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as lines:
                for line in lines:
                    asked: dict[str, Any] = json.loads(line)
                    told = getattr(plants, asked.pop("do"))(**asked)
                    lines.write(json.dumps(told) + "\n")
                    lines.flush()

    threading.Thread(target=answer, name="plants", daemon=True).start()


class Garden:
    """The test's end. A worker that died is awaited and asked again; what was planted in it is gone with it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._line: socket.socket | None = None

    def trace(self, port: int = 0) -> None:
        """Note every function in scope that is entered for clients that connect from now on, and for that of `port`."""
        self._ask(do="trace", port=port)

    def traced(self, *, until: str) -> dict[str, bool]:
        """What was entered since `trace`, in the order of first entries, and whether it is a coroutine.

        Waits for `until`, the last function to be entered, and ends the tracing.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while until not in (found := self._ask(do="traced")):
            assert time.monotonic() < deadline_s, f"{until} was not entered; these were: {list(found)}"
            time.sleep(0.01)
        self._ask(do="rest")
        return dict(found)

    def plant(self, name: str, moment: str = ENTERED, *, raises: str = "Planted", everywhere: bool = False) -> None:
        """Let a function that was traced before raise; `everywhere` also when no client's call enters it."""
        self._ask(do="plant", name=name, moment=moment, raises=raises, everywhere=everywhere)

    def cure(self, *, once_hit: bool = False) -> int | None:
        """Let it work again; `once_hit`: as soon as it has raised. How often it did; None: that worker is no more."""
        deadline_s = time.monotonic() + PATIENCE_S
        try:
            while once_hit and not self._ask(do="hits", again=False) and time.monotonic() < deadline_s:
                time.sleep(0.005)
            hits: int = self._ask(do="cure", again=False)
        except OSError:
            return None
        return hits

    def _ask(self, *, again: bool = True, **asked: object) -> Any:
        deadline_s = time.monotonic() + 20
        while True:
            try:
                if self._line is None:
                    self._line = socket.socket(socket.AF_UNIX)
                    self._line.settimeout(10)
                    self._line.connect(self._path)
                self._line.sendall(json.dumps(asked).encode() + b"\n")
                answer = b""
                while not answer.endswith(b"\n"):
                    answer += (more := self._line.recv(65_536))
                    if not more:
                        raise ConnectionResetError("the worker is gone")
                return json.loads(answer)
            except OSError:
                self.close()
                if not again or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None


def main() -> int:
    """Run a worker with the control socket open."""
    from proxy.audit import journal
    from proxy.edge import worker  # in this order: it forgets SSLKEYLOGFILE before anything reads it
    from proxy.stores import names

    names.REMEMBER_S = 0.0  # every call asks
    journal.LATER_S = 0.0  # what fails is to fail with the call that it belongs to, not with the next one
    serve(sys.argv[1])
    return worker.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
