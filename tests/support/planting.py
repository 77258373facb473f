"""Exceptions planted in a running worker, one function at a time, by whoever holds its control socket.

As a program, `planting.py SOCKET ARGUMENTS…` runs one worker of the proxy (`python -m proxy.edge.worker ARGUMENTS…`)
with this beside it. The product knows nothing of it: functions are traced and made to raise by the interpreter itself
(`sys.monitoring`, PEP 669), at their code object, so that no copied name or bound method escapes.

`Garden` is the test's end of the socket:

    garden.trace()
    ...                                     # one call through the proxy
    for function in garden.traced(): ...
    garden.plant(function.name)             # from now on it raises, whenever a client's call enters it
    ...
    assert garden.cure() > 0                # how often it did
"""

import asyncio
import json
import socket
import sys
import threading
import time
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
SCOPE = tuple(
    str(ROOT / name)
    for name in (
        "addons/",
        "proxy/gate.py",
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

_TOOL = 4
_OWN_THREADS = ("journal", "resolve")  # executors whose jobs are made for calls, but do not inherit their context
_of_client: ContextVar[bool] = ContextVar("of_client", default=False)


class Planted(Exception):
    """What a planted function raises; nothing in the product knows or expects it."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that was entered on behalf of a client, and whether that was before an upstream connection began."""

    name: str
    coroutine: bool
    before_dial: bool


class Plants:
    """The worker's end: listens to the interpreter, for as long as something is traced or planted."""

    def __init__(self) -> None:
        self._known: dict[str, CodeType] = {}
        self._traced: dict[str, Function] = {}
        self._planted: CodeType | None = None
        self._raises: type[BaseException] = Planted
        self._everywhere = False
        self._hits = 0
        self._dialled = False
        sys.monitoring.use_tool_id(_TOOL, "plants")
        for event in (sys.monitoring.events.PY_START, sys.monitoring.events.PY_RETURN):
            sys.monitoring.register_callback(_TOOL, event, self._on_event)
        # A connection's tasks, and all they start, inherit the context in which its handler began.
        serve = sys.modules["proxy.edge.listen"].Listener._serve.__code__
        self._serve = serve
        sys.monitoring.set_local_events(_TOOL, serve, sys.monitoring.events.PY_START)

    # --- what the control socket asks --------------------------------------------------------------------------------

    def trace(self) -> None:
        self._traced, self._dialled = {}, False
        sys.monitoring.set_events(_TOOL, sys.monitoring.events.PY_START)
        sys.monitoring.restart_events()

    def traced(self) -> list[dict[str, object]]:
        sys.monitoring.set_events(_TOOL, 0)
        return [asdict(function) for function in self._traced.values()]

    def plant(self, name: str, moment: str, raises: str, everywhere: bool) -> None:
        self._hits, self._everywhere = 0, everywhere
        self._raises = {"Planted": Planted, "CancelledError": asyncio.CancelledError, "SystemExit": SystemExit}[raises]
        self._planted = self._known[name]
        events = sys.monitoring.events
        sys.monitoring.set_local_events(
            _TOOL, self._planted, events.PY_START if moment == ENTERED else events.PY_RETURN
        )

    def cure(self) -> int:
        if self._planted is not None:
            sys.monitoring.set_local_events(_TOOL, self._planted, 0)
            self._planted = None
        return self._hits

    # --- what the interpreter says -----------------------------------------------------------------------------------

    def _on_event(self, code: CodeType, *_: object) -> object:
        if code is self._serve:
            _of_client.set(True)
            return None
        if code is self._planted:
            if self._everywhere or _for_a_client():
                self._hits += 1
                raise self._raises(f"{SECRET} in {code.co_qualname}")
            return None
        if not code.co_filename.startswith(SCOPE):
            return sys.monitoring.DISABLE
        if _for_a_client():
            self._note(code)
        return None

    def _note(self, code: CodeType) -> None:
        name = _name(code)
        self._known[name] = code
        self._dialled = self._dialled or name == "addons.dial:Dial.server_connect"
        if name not in self._traced:
            coroutine = bool(code.co_flags & 0x180)  # CO_COROUTINE, CO_ITERABLE_COROUTINE
            self._traced[name] = Function(name=name, coroutine=coroutine, before_dial=not self._dialled)


def _for_a_client() -> bool:
    return _of_client.get() or threading.current_thread().name.startswith(_OWN_THREADS)


def _name(code: CodeType) -> str:
    module = str(Path(code.co_filename).relative_to(ROOT).with_suffix("")).replace("/", ".")
    unnamed = "<lambda>" in code.co_name or "<genexpr>" in code.co_name
    return f"{module}:{code.co_qualname}{f'@{code.co_firstlineno}' if unnamed else ''}"


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
        self._lines: Any = None

    def trace(self) -> None:
        """Note every function in scope that is entered for a client from now on."""
        self._ask(do="trace")

    def traced(self) -> tuple[Function, ...]:
        """What was entered since `trace`, in the order of first entries; ends the tracing."""
        return tuple(Function(**function) for function in self._ask(do="traced"))

    def plant(self, name: str, moment: str = ENTERED, *, raises: str = "Planted", everywhere: bool = False) -> None:
        """Let a function that was traced before raise; `everywhere` also when no client's call enters it."""
        self._ask(do="plant", name=name, moment=moment, raises=raises, everywhere=everywhere)

    def cure(self) -> int | None:
        """Let it work again. How often it raised; None when that worker is no more."""
        try:
            hits: int = self._ask(do="cure", again=False)
        except OSError:
            return None
        return hits

    def _ask(self, *, again: bool = True, **asked: object) -> Any:
        deadline_s = time.monotonic() + 20
        while True:
            try:
                if self._lines is None:
                    connection = socket.socket(socket.AF_UNIX)
                    connection.settimeout(10)
                    connection.connect(self._path)
                    self._lines = connection.makefile("rw")
                self._lines.write(json.dumps(asked) + "\n")
                self._lines.flush()
                answer = self._lines.readline()
                if not answer:
                    raise ConnectionResetError("the worker is gone")
                return json.loads(answer)
            except OSError:
                self._lines = None
                if not again or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)


def main() -> int:
    """Run a worker with the control socket open."""
    from proxy.edge import worker  # in this order: it forgets SSLKEYLOGFILE before anything reads it

    serve(sys.argv[1])
    return worker.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
