"""What every request of the desk passes first, and every response bears: one place, before any page is looked for.

A browser is a program that strangers can make send requests. The desk answers only under its own names, else another
name could be pointed at it (DNS rebinding); takes forms only from its own pages (CSRF); is framed by nobody; and runs
no script, shows no picture and opens no connection but its own (CSP, issue D). That a form also bears the session's
token is for `forms`.
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from traceback import extract_tb

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.review.desk.api.problems import MEDIA, problem

logger = logging.getLogger(__name__)

HEADERS: Mapping[str, str] = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "cache-control": "no-store",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
SECURE_HEADERS: Mapping[str, str] = {"strict-transport-security": "max-age=31536000"}

_READS = frozenset({"GET", "HEAD"})
_PARTS_OF_PAGES = frozenset({"iframe", "frame", "object", "embed", "fencedframe"})
"""What a browser asks for to put it into a page (Sec-Fetch-Dest), though it calls that a navigation."""
_MOST_HEADER_BYTES = 16_384
_BROKEN = {
    True: "Something failed here. It was noted; nothing was decided by it.",
    False: "Something failed here, and was noted. Whether what you sent was recorded is not known: look before you "
    "send it again.",
}


class Guard:
    """The desk's application behind its door. `origins` are its own: `http://127.0.0.1:8090`, without a final slash."""

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        self._app = app
        self._origins = {origin.partition("://")[2]: origin for origin in origins}
        secure = all(origin.startswith("https://") for origin in origins)
        self._headers = [
            (name.encode("ascii"), value.encode("ascii"))
            for name, value in {**HEADERS, **(SECURE_HEADERS if secure else {})}.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a WebSocket is refused by closing it; there is no lifespan to take part in
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        began, ours = False, {name for name, _ in self._headers}

        async def guarded(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in ours]
                message = {**message, "headers": [*kept, *self._headers]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _say(guarded, *refusal, api=is_api(scope))
            return
        try:
            await self._app(scope, receive, guarded)
        except Exception as fault:  # noqa: BLE001 (the last line of defence: a person gets a line, not a stack trace)
            logger.error("the desk failed at %s: %s", place_of(fault), type(fault).__name__)
            if not began:
                await _say(guarded, 500, _BROKEN[scope["method"] in _READS], api=is_api(scope))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is not even looked at; None when it is."""
        headers = _Once(scope)
        origin = self._origins.get(headers.get("host"))
        if origin is None:
            return 421, f"This is the review desk of {', '.join(self._origins.values())}: open it under that name."
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADER_BYTES:
            return 431, "Too many headers."
        site, sent_from = headers.get("sec-fetch-site"), headers.get("origin")
        if is_api(scope):
            # A token is what counts there; no browser adds one by itself, and what a browser adds counts for nothing.
            foreign = bool(sent_from or headers.get("cookie")) or site not in ("", "none")
            return (403, "The API serves programs that bear a token, and no browser.") if foreign else None
        if scope["method"] in _READS:
            # Whoever links here may; nobody else's page may load parts of ours.
            foreign = site not in ("", "same-origin", "none") and headers.get("sec-fetch-mode") != "navigate"
            foreign = foreign or headers.get("sec-fetch-dest") in _PARTS_OF_PAGES
            return (403, "Only this desk's own pages may ask for that.") if foreign else None
        if scope["method"] != "POST":
            return 405, "The desk knows GET and POST."
        # Under no-referrer a browser says `Origin: null` with its own forms, and Sec-Fetch-Site where they came from.
        own = sent_from == origin if site == "" else site == "same-origin" and sent_from in (origin, "null", "")
        return None if own else (403, "The form did not come from this desk: open the page here, and send it again.")


class _Once:
    """Header values by name. One that came several times is none."""

    def __init__(self, scope: Scope) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def get(self, name: str) -> str:
        """The value, "" when it is absent, and what matches nothing when it is not one."""
        values = self._values.get(name, [""])
        return values[0] if len(values) == 1 else "\0"


def place_of(fault: BaseException) -> str:
    """File and line of ours at which an exception arose, without any data."""
    ours = [frame for frame in extract_tb(fault.__traceback__) if "proxy" in Path(frame.filename).parts]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "an unknown place"


def is_api(scope: Scope) -> bool:
    """Whether a request is for the API: as the router sees its path, which is decoded once."""
    path = str(scope["path"])
    return path == "/api" or path.startswith("/api/")


_API_CODES = {403: "api.browser", 421: "api.host", 431: "api.headers"}


async def _say(send: Send, status: int, text: str, *, api: bool) -> None:
    body, kind = f"{text}\n".encode(), b"text/plain; charset=utf-8"
    if api:
        answer = problem(_API_CODES.get(status, "api.broken"), text)
        body, kind = bytes(answer.body), MEDIA.encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
