"""`intent-proxy desk`: the review desk, pages on which people decide about held calls."""

import asyncio
import contextlib
import logging
import shlex
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Annotated

import typer
import uvicorn

from proxy.cli import desktokens, webhooks
from proxy.cli.deployment import Deployment, open_deployment
from proxy.cli.desking import open_parts
from proxy.cli.deskplace import announce_desk, desk_origins, desk_sockets, print_link
from proxy.cli.exits import Exit
from proxy.cli.where import AsJson, Config, Dev
from proxy.core.errors import Unavailable
from proxy.review.desk.app import build_app
from proxy.review.desk.connections import MOST_CONNECTIONS, Prompt
from proxy.stores.embedded import EmbeddedStore, keep_up

STOPS_WITHIN_S = 3


app = typer.Typer(help="The review desk: pages on which people decide.")
app.add_typer(webhooks.app, name="webhooks", no_args_is_help=True)
app.add_typer(desktokens.app, name="tokens", no_args_is_help=True)


@app.callback(invoke_without_command=True)
def desk(
    context: typer.Context,
    config: Config = None,
    link: Annotated[bool, typer.Option("--link", help="Only print a link that signs somebody in, once.")] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="PERSON",
            envvar="INTENT_PROXY_AS",
            help="Whom the link is for. Else whoever answers for the first agent.",
            show_default=False,
        ),
    ] = None,
    dev: Dev = False,
    descriptors: Annotated[list[int] | None, typer.Option("--fd", hidden=True)] = None,
    as_json: AsJson = False,
) -> int:
    """Run the review desk until Ctrl-C or SIGTERM: pages on which people decide about held calls.

    intent-proxy run starts it, too; this is for a desk of its own. It needs the
    deployment's secret, and answers under desk.url alone. On a terminal it prints
    a link that signs one person in, once, for ten minutes; --link makes another.
    Whoever may open the deployment's state can make one, and nobody else.

    Examples:
      intent-proxy desk
      intent-proxy desk --link --as maria
    """
    if context.invoked_subcommand is not None:
        return Exit.OK
    deployment = open_deployment(config)
    if link:
        print_link(deployment, deployment.bundle(dev=dev), name, as_json=as_json)
        return Exit.OK
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    with contextlib.ExitStack() as held:
        given = [socket.socket(fileno=number) for number in descriptors or ()]
        sockets = given or list(desk_sockets(deployment.settings))
        for each in sockets:
            held.enter_context(contextlib.closing(each))
        words = "" if config is None else f"-c {shlex.quote(str(config))}"
        return asyncio.run(_serve(deployment, sockets, dev=dev, name=name, words=words, beside=bool(given)))


async def _serve(
    deployment: Deployment, sockets: Sequence[socket.socket], *, dev: bool, name: str | None, words: str, beside: bool
) -> int:
    origins = desk_origins(deployment.settings, sockets[0].getsockname()[1])
    keeps_store = deployment.settings.redis_url is None and not beside  # a proxy keeps it up itself
    async with (
        open_parts(deployment, dev=dev, origins=origins, config=words) as opened,
        _store_kept_up(deployment) if keeps_store else contextlib.nullcontext(),
    ):
        server = _Server(
            uvicorn.Config(
                build_app(opened.parts),
                log_config=None,
                access_log=False,
                http=Prompt,
                lifespan="off",
                ws="none",
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=STOPS_WITHIN_S,
            ),
            on_stop=opened.parts.index.end,
            on_started=lambda: announce_desk(
                deployment,
                opened.parts.policy().bundle,
                port=sockets[0].getsockname()[1],
                name=name,
            ),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        if beside:
            _end_with_parent(lambda: loop.call_soon_threadsafe(server.stop))
        chores = [asyncio.ensure_future(chore) for chore in (*opened.chores, _fail_with(opened.died))]
        await opened.parts.index.first_look()  # it is ready when it knows what waits
        serving = asyncio.ensure_future(server.serve(sockets=list(sockets)))
        try:
            await asyncio.wait({serving, *chores}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():  # what must go on has ended
                server.stop()
            await serving
        finally:
            for chore in chores:
                chore.cancel()
            ended = await asyncio.gather(*chores, return_exceptions=True)
        for fault in ended:
            if isinstance(fault, Exception):
                raise fault
    return Exit.OK


@contextlib.asynccontextmanager
async def _store_kept_up(deployment: Deployment) -> AsyncIterator[None]:
    """A desk of its own brings the embedded store back, should it end."""
    ended = asyncio.Event()
    keeping = asyncio.ensure_future(keep_up(EmbeddedStore(deployment.settings.state), ended))
    try:
        yield
    finally:
        ended.set()
        await keeping


async def _fail_with(died: "asyncio.Future[Unavailable]") -> None:
    """Fail as soon as the journal has: what can no longer be written down must not be shown."""
    raise await died


class _Server(uvicorn.Server):
    """Says when it serves, and leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config, *, on_started: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if not self.should_exit:
            self._on_started()

    def stop(self) -> None:
        """Answer what was asked, let go whoever only listens, and end."""
        self._on_stop()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _end_with_parent(end: Callable[[], object]) -> None:
    """End when whoever started us has: our standard input ends then."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while sys.stdin.buffer.read(4096):
                pass
        end()

    threading.Thread(target=wait, name="parent", daemon=True).start()
