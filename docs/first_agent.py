"""A first agent: one call that its mandate covers, and one that a person has to release. Copy it and make it yours.

    python first_agent.py

It needs httpx and the base distribution of intent-proxy. The manifest says what it may do, the key proves that it is
the agent the manifest names; both were made by `intent-proxy init`.
"""

import sys
import time

import httpx

from proxy.agent import IntentAuth
from proxy.agent.answers import Denied, Held, read_answer, read_hold

PROXY = "http://127.0.0.1:8080"
SERVER = "http://localhost:8000"

auth = IntentAuth("mine/manifests/invoice-bot.jws", "mine/keys/invoice-bot.pem")
client = httpx.Client(auth=auth, proxy=PROXY)  # for https:// servers also verify="mine/state/ca/ca.pem"


def get(url: str) -> httpx.Response:
    """GET a URL. Where a person has to approve it first, wait for that and send the same call again."""
    try:
        response = client.get(url)
    except httpx.ConnectError as fault:
        sys.exit(f"nobody answers at {PROXY} ({fault}): is `intent-proxy run` ready?")
    match read_answer(response.status_code, response.headers, response.content):
        case Held() as held:
            print(f"held     {url}\n         hold {held.id}: {held.code}", flush=True)
            wait_for(held)
            return get(url)
        case Denied() as denied:
            sys.exit(f"denied   {url}\n         {denied.code}: {denied.detail}")
    print(f"allowed  {url}\n         {response.status_code}, {len(response.content)} bytes", flush=True)
    return response


def wait_for(held: Held) -> None:
    """Ask now and then until somebody has decided. An agent with other work goes on with that instead."""
    now: Held | None = held
    while now is not None and now.status == "held":
        time.sleep(now.retry_after_s or 5)
        now = read_hold(client.get(held.status_url).content)


get(f"{SERVER}/holds.md")
get(f"{SERVER}/decisions/0002-layers-not-patches.md")
