"""aiohttp: its C parser (llhttp) and yarl's reading of the URL."""

import asyncio

from aiohttp import web
from recording import options, record, server_context

GIVEN = options()


async def handle(request: web.BaseRequest) -> web.Response:
    record(
        GIVEN.log,
        method=request.method,
        target=request.raw_path,
        path=request.path.encode("utf-8", "surrogateescape"),
        pairs=list(request.query.items()),
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers],
        body=await request.read(),
    )
    return web.Response(text="ok\n")


async def main() -> None:
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", GIVEN.plain).start()
    await web.TCPSite(runner, "127.0.0.1", GIVEN.tls, ssl_context=server_context(GIVEN)).start()
    await asyncio.Event().wait()


asyncio.run(main())
