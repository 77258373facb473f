"""One connection layer of the proxy by itself, with a clock that the test moves."""

import time
from collections.abc import Callable

import pytest
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import HttpConnection, ReceiveHttp
from mitmproxy.proxy.layers.http._events import HttpEvent

from addons.http1 import RefusedHeadHook
from proxy.core.errors import Code


class Bench:
    """One connection layer, its wakeups, and what it did since last asked."""

    def __init__(self, make: Callable[[Context], HttpConnection], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        client = Client(peername=("a", 1), sockname=("b", 2), timestamp_start=0, state=ConnectionState.OPEN)
        options = Options()
        options.add_option("validate_inbound_headers", bool, True, "as mitmproxy's proxyserver declares it")
        context = Context(client, options)
        context.server = Server(address=("c", 3))
        context.server.state = ConnectionState.OPEN
        self.layer = make(context)
        self.pending: list[tuple[float, commands.RequestWakeup]] = []
        self.done: list[commands.Command] = []
        self.give(events.Start())

    def give(self, event: events.Event) -> None:
        for command in self.layer.handle_event(event):
            self.done.append(command)
            if isinstance(command, commands.RequestWakeup):
                self.pending.append((self.now_s + command.delay, command))
            if isinstance(command, RefusedHeadHook):
                self.give(events.HookCompleted(command))

    def data(self, data: bytes) -> None:
        self.give(events.DataReceived(self.layer.conn, data))

    def pass_time(self, seconds: float) -> None:
        """Until then, with every wakeup at its time."""
        until = self.now_s + seconds
        while due := sorted((each for each in self.pending if each[0] <= until), key=lambda each: each[0]):
            self.pending.remove(due[0])
            self.now_s = due[0][0]
            self.give(events.Wakeup(due[0][1]))
        self.now_s = until

    @property
    def refused(self) -> list[Code]:
        return [each.data.code for each in self.done if isinstance(each, RefusedHeadHook)]

    @property
    def closed(self) -> bool:
        return any(type(each) is commands.CloseConnection for each in self.done)

    def told[T: HttpEvent](self, kind: type[T]) -> list[T]:
        """What the stream was told."""
        return [each.event for each in self.done if isinstance(each, ReceiveHttp) and isinstance(each.event, kind)]

    @property
    def sent(self) -> bytes:
        """What was written to the peer since this was last asked."""
        data = b"".join(each.data for each in self.done if isinstance(each, commands.SendData))
        self.done = [each for each in self.done if not isinstance(each, commands.SendData)]
        return data
