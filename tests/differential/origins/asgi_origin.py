"""uvicorn with h11: what an ASGI application is handed."""

import asyncio
from urllib.parse import parse_qsl, unquote_to_bytes

import uvicorn
from recording import options, record

GIVEN = options()


async def app(scope, receive, send) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    query = scope["query_string"].decode("ascii")
    record(
        GIVEN.log,
        method=scope["method"],
        target=scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
        path=scope["path"].encode("utf-8", "surrogateescape")
        if "�" not in scope["path"]
        else unquote_to_bytes(scope["raw_path"]),
        pairs=parse_qsl(query, keep_blank_values=True),
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        body=body,
    )
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"ok\n"})


def server(port: int, **more) -> uvicorn.Server:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, http="h11", ws="none", lifespan="off", log_level="error", **more
    )
    served = uvicorn.Server(config)
    served.install_signal_handlers = lambda: None
    return served


async def main() -> None:
    tls = {"ssl_certfile": GIVEN.cert, "ssl_keyfile": GIVEN.key}
    await asyncio.gather(server(GIVEN.plain).serve(), server(GIVEN.tls, **tls).serve())


asyncio.run(main())
