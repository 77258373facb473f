"""Calls by one Python client, as a program would make them: `python_clients.py CLIENT URL...`, with METHOD and BODY.

One client makes all the calls, one after the other. Proxy and trust come from the environment. With INTENT_MANIFEST and
INTENT_KEY each call is signed instead. A line of JSON for each call says what the program's user can learn.
"""

import asyncio
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

METHOD = os.environ.get("METHOD", "GET")
BODY = os.environ["BODY"].encode() if "BODY" in os.environ else None
HEADERS = {"Prefer": os.environ["PREFER"]} if "PREFER" in os.environ else {}
TIMEOUT_S = 50

type Told = tuple[int, str]


def auth():
    if "INTENT_MANIFEST" not in os.environ:
        return None
    from proxy.agent import IntentAuth

    return IntentAuth(os.environ["INTENT_MANIFEST"], os.environ["INTENT_KEY"], task="T-1")


def aiohttp_auth():
    from proxy.agent import aiohttp_auth

    return aiohttp_auth.IntentAuth(os.environ["INTENT_MANIFEST"], os.environ["INTENT_KEY"], task="T-1")


def by_requests(urls: list[str]) -> Iterator[Told]:
    import requests

    with requests.Session() as session:
        for url in urls:
            answer = session.request(METHOD, url, data=BODY, headers=HEADERS, auth=auth(), timeout=TIMEOUT_S)
            yield answer.status_code, answer.text


def by_httpx(urls: list[str]) -> Iterator[Told]:
    import httpx

    with httpx.Client(auth=auth(), http2="HTTP2" in os.environ, timeout=TIMEOUT_S) as client:
        for url in urls:
            answer = client.request(METHOD, url, content=BODY, headers=HEADERS)
            assert answer.http_version == os.environ.get("HTTP2", "HTTP/1.1"), answer.http_version
            yield answer.status_code, answer.text


def by_httpx2(urls: list[str]) -> Iterator[Told]:
    import httpx2

    with httpx2.Client(auth=auth(), timeout=TIMEOUT_S) as client:
        for url in urls:
            answer = client.request(METHOD, url, content=BODY, headers=HEADERS)
            yield answer.status_code, answer.text


def by_aiohttp(urls: list[str]) -> Iterator[Told]:
    import ssl

    import aiohttp

    async def calls() -> list[Told]:
        trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        told = []
        signed = () if auth() is None else (aiohttp_auth(),)
        async with aiohttp.ClientSession(trust_env=True, middlewares=signed) as session:
            for url in urls:
                async with session.request(METHOD, url, data=BODY, headers=HEADERS, ssl=trust) as answer:
                    told.append((answer.status, await answer.text()))
        return told

    yield from asyncio.run(calls())


def by_urllib(urls: list[str]) -> Iterator[Told]:
    for url in urls:
        request = urllib.request.Request(url, data=BODY, headers=HEADERS, method=METHOD)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                yield answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            yield refused.code, refused.read().decode()


if __name__ == "__main__":
    for status, text in globals()[f"by_{sys.argv[1]}"](sys.argv[2:]):
        print(json.dumps({"status": status, "text": text}), flush=True)
