"""An agent on OpenAI's SDK: its model and its tool are called through the proxy. Copy it and make it yours.

    python openai_agent.py 'Which invoices are open?'

It needs `openai` and the base distribution of intent-proxy. The model is told in one sentence what was held or denied.
"""

import json
import ssl
import sys

import httpx2
import openai

from proxy.agent.answers import Denied, Held
from proxy.agent.httpx2_auth import IntentAuth
from proxy.agent.waiting import Expired, Uncertain, finish

PROXY = "http://127.0.0.1:8080"
MODEL_API = "https://api.example/v1"
PAGES = "https://erp.example"
WAIT_S = 600  # for a person; then the model is told that nobody decided yet

auth = IntentAuth("mine/manifests/invoice-bot.jws", "mine/keys/invoice-bot.pem", task="T-4711")
trust = ssl.create_default_context(cafile="mine/state/ca/ca.pem")
client = httpx2.Client(auth=auth, proxy=PROXY, verify=trust)
model = openai.OpenAI(api_key="set by the proxy, or yours", base_url=MODEL_API, http_client=client)

TOOL = {
    "type": "function",
    "function": {
        "name": "read_page",
        "description": "Read a page of the invoice system.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}


def read_page(path: str) -> str:
    """The page; or one sentence that says what became of the call, and what to do now."""
    match finish(client, client.get(f"{PAGES}{path}"), within_s=WAIT_S):
        case Denied() as denied:
            return f"{denied.code}: {denied.detail}"
        case Held() | Expired() | Uncertain() as waiting:
            return f"{type(waiting).__name__}: {waiting.reason}"
        case page:
            return page.text


messages: list = [{"role": "user", "content": sys.argv[1]}]
while True:
    answer = model.chat.completions.create(model="agreed-1", messages=messages, tools=[TOOL]).choices[0].message
    if not answer.tool_calls:
        break
    messages.append(answer)
    for call in answer.tool_calls:
        result = read_page(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(answer.content)
