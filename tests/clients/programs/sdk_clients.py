"""One request by an LLM's SDK: `sdk_clients.py SHAPE BASE_URL MODEL`. Prints each piece of a stream when it comes.

Proxy and trust come from the environment; with INTENT_MANIFEST and INTENT_KEY each request is signed instead. The last
line is JSON: the whole text, or the name and the words of the SDK's own exception.
"""

import json
import os
import sys
from collections.abc import Iterator

import httpx2

SHAPE, BASE_URL, MODEL = sys.argv[1:4]
MESSAGES = [{"role": "user", "content": "Which invoices are open?"}]


def options() -> dict[str, object]:
    given: dict[str, object] = {"api_key": "sk-test", "base_url": BASE_URL, "max_retries": 0}
    if "INTENT_MANIFEST" in os.environ:
        from proxy.agent import IntentAuth

        auth = IntentAuth(os.environ["INTENT_MANIFEST"], os.environ["INTENT_KEY"], cluster="llm", task="T-1")
        given["http_client"] = httpx2.Client(auth=auth)
    return given


def openai_chat() -> Iterator[str]:
    import openai

    client = openai.OpenAI(**options())
    for chunk in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def openai_responses() -> Iterator[str]:
    import openai

    client = openai.OpenAI(**options())
    for event in client.responses.create(model=MODEL, input="Which invoices are open?", stream=True):
        if event.type == "response.output_text.delta":
            yield event.delta


def anthropic_messages() -> Iterator[str]:
    import anthropic

    client = anthropic.Anthropic(**options())
    with client.messages.stream(model=MODEL, max_tokens=64, messages=MESSAGES) as stream:
        yield from stream.text_stream


try:
    pieces = []
    for piece in globals()[SHAPE]():
        print(f"piece {piece}", flush=True)
        pieces.append(piece)
    told = {"text": "".join(pieces)}
except Exception as fault:
    told = {"error": type(fault).__name__, "words": str(fault)}
print(json.dumps(told), flush=True)
