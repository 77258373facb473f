"""A conversation by a WebSocket client: `websocket_client.py CLIENT URL`. Prints what it hears, then one JSON line.

Proxy and trust come from the environment; with INTENT_MANIFEST and INTENT_KEY the handshake is signed instead.
"""

import asyncio
import json
import os
import ssl
import sys

CLIENT, URL = sys.argv[1:3]
TRUST = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
SAID: tuple[str | bytes, ...] = ("good morning", "é" * 40_000, b"\x00\xff" * 100)


def signature() -> dict[str, str]:
    if "INTENT_MANIFEST" not in os.environ:
        return {}
    from proxy.agent.signer import Signer

    signer = Signer(os.environ["INTENT_MANIFEST"], os.environ["INTENT_KEY"], cluster="news", task="T-1")
    return dict(signer.headers_for("GET", URL))


async def by_websockets() -> list[str | bytes]:
    from websockets.asyncio.client import connect

    async with connect(URL, ssl=TRUST, additional_headers=signature(), ping_interval=0.2) as socket:
        heard = []
        for message in SAID:
            await socket.send(message)
            heard.append(await socket.recv())
        await asyncio.wait_for(await socket.ping(), 10)
        return heard


async def by_aiohttp() -> list[str | bytes]:
    import aiohttp

    proxy = os.environ["HTTPS_PROXY"]  # of itself it looks for WSS_PROXY
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(URL, ssl=TRUST, headers=signature(), proxy=proxy) as socket,
    ):
        heard = []
        for message in SAID:
            await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
            heard.append((await socket.receive()).data)
        return heard


try:
    heard = asyncio.run(globals()[f"by_{CLIENT}"]())
    told = {"whole": heard == list(SAID)}
except Exception as fault:
    answer = getattr(fault, "response", None)
    status = getattr(answer, "status_code", None) or getattr(fault, "status", None)
    headers = getattr(answer, "headers", None) or getattr(fault, "headers", None) or {}
    body = (getattr(answer, "body", None) or b"").decode()
    told = {"status": status, "words": f"{fault} {body} {headers.get('Link', '')}"}
print(json.dumps(told))
