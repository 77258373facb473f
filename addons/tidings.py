"""News that comes from outside a connection, and goes down its layers to the streams it concerns."""

from dataclasses import dataclass

from mitmproxy.proxy import events


@dataclass
class Tidings(events.Event):
    """Every layer hands it to what is inside; a stream that it does not concern lets it be."""


@dataclass
class Stopped(Tidings):
    """A call under way is to end now: its mandate no longer stands."""

    flow_id: str


@dataclass
class Leaving(Tidings):
    """The proxy is about to end. What would never end by itself takes its leave."""
