"""An agent on Anthropic's SDK: its model and its tool are called through the proxy. Copy it and make it yours.

    python anthropic_agent.py 'Which invoices are open?'

It needs `anthropic` and the base distribution of intent-proxy. Model and tool run in one event loop: while a person
decides about one call, others go on.
"""

import asyncio
import ssl
import sys

import anthropic
import httpx2

from proxy.agent.answers import Denied, Held
from proxy.agent.httpx2_auth import IntentAuth
from proxy.agent.waiting import Expired, Uncertain, finish_async

PROXY = "http://127.0.0.1:8080"
MODEL_API = "https://api.example"
PAGES = "https://erp.example"
WAIT_S = 600  # for a person; then the model is told that nobody decided yet

auth = IntentAuth("mine/manifests/invoice-bot.jws", "mine/keys/invoice-bot.pem", task="T-4711")
trust = ssl.create_default_context(cafile="mine/state/ca/ca.pem")
client = httpx2.AsyncClient(auth=auth, proxy=PROXY, verify=trust)
model = anthropic.AsyncAnthropic(api_key="set by the proxy, or yours", base_url=MODEL_API, http_client=client)

TOOL = {
    "name": "read_page",
    "description": "Read a page of the invoice system.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}


async def read_page(path: str) -> str:
    """The page; or one sentence that says what became of the call, and what to do now."""
    match await finish_async(client, await client.get(f"{PAGES}{path}"), within_s=WAIT_S):
        case Denied() as denied:
            return f"{denied.code}: {denied.detail}"
        case Held() | Expired() | Uncertain() as waiting:
            return f"{type(waiting).__name__}: {waiting.reason}"
        case page:
            return page.text


async def main() -> None:
    messages: list = [{"role": "user", "content": sys.argv[1]}]
    while True:
        answer = await model.messages.create(model="agreed-1", max_tokens=1024, messages=messages, tools=[TOOL])
        calls = [part for part in answer.content if part.type == "tool_use"]
        if not calls:
            break
        results = await asyncio.gather(*(read_page(**call.input) for call in calls))
        told = [
            {"type": "tool_result", "tool_use_id": call.id, "content": result}
            for call, result in zip(calls, results, strict=True)
        ]
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": told}]
    print("".join(part.text for part in answer.content if part.type == "text"))


asyncio.run(main())
