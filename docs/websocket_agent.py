"""A WebSocket through the proxy, with the `websockets` library. Copy it and make it yours.

    python websocket_agent.py signed     # the handshake is signed, as any call
    python websocket_agent.py session    # the proof is in HTTPS_PROXY: eval "$(intent-proxy session new …)"

It needs `websockets` and the base distribution of intent-proxy.
"""

import ssl
import sys

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from proxy.agent.answers import Denied, Held, read_answer
from proxy.agent.signer import Signer

PROXY = "http://127.0.0.1:8080"
URL = "wss://localhost:8443/v1/live/news"

trust = ssl.create_default_context(cafile="mine/state/ca/ca.pem")


def signed() -> ClientConnection:
    """A handshake with a signature of its own: every attempt needs a new one."""
    signer = Signer("mine/manifests/invoice-bot.jws", "mine/keys/invoice-bot.pem")
    return connect(URL, proxy=PROXY, ssl=trust, additional_headers=signer.headers_for("GET", URL))


def by_session() -> ClientConnection:
    """Nothing but HTTPS_PROXY, which holds the session's credentials."""
    return connect(URL, ssl=trust)


try:
    with signed() if sys.argv[1:] == ["signed"] else by_session() as socket:
        socket.send("good morning")
        print("heard   ", socket.recv())
except InvalidStatus as refused:
    answer = refused.response
    match read_answer(answer.status_code, answer.headers, answer.body):
        case Held() as held:
            print(f"held     {held.id}: {held.code}")
        case Denied() as denied:
            print(f"denied   {denied.code}: {denied.detail}")
        case _:
            raise
