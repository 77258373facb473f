"""An agent on LangChain and LangGraph: its model and its tool are called through the proxy. Copy it and make it yours.

    python langgraph_agent.py 'Which invoices are open?'

It needs `langchain`, `langchain-openai`, `httpx2` and the base distribution of intent-proxy.
"""

import ssl
import sys

import httpx2
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

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
model = ChatOpenAI(model="agreed-1", api_key="set by the proxy, or yours", base_url=MODEL_API, http_client=client)


@tool
def read_page(path: str) -> str:
    """Read a page of the invoice system."""
    match finish(client, client.get(f"{PAGES}{path}"), within_s=WAIT_S):
        case Denied() as denied:  # one sentence that says what became of the call, and what to do now
            return f"{denied.code}: {denied.detail}"
        case Held() | Expired() | Uncertain() as waiting:
            return f"{type(waiting).__name__}: {waiting.reason}"
        case page:
            return page.text


agent = create_agent(model, [read_page])  # a graph of LangGraph's
print(agent.invoke({"messages": [("user", sys.argv[1])]})["messages"][-1].content)
