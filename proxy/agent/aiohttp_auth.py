"""`IntentAuth` for aiohttp (3.12 or newer), a client middleware: a fresh signature for every attempt, redirects too.

    auth = IntentAuth("invoices.jws", "agent.pem", cluster="supplier-invoices", task="T-4711")
    async with aiohttp.ClientSession(middlewares=(auth,), proxy="http://127.0.0.1:8080") as session:
        await session.post(url, json=payload, middlewares=(auth.declaring(task="T-4712"),))

Use it only behind the proxy, which takes the manifest off: an origin that is called directly can read it.
"""

from typing import TYPE_CHECKING

from proxy.agent.auth import SigningAuth
from proxy.agent.signer import OWN_FIELDS

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

_UNTYPED = "application/octet-stream"


class IntentAuth(SigningAuth):
    """Signs each request of a session, or one request, under a manifest."""

    async def __call__(self, request: "ClientRequest", handler: "ClientHandlerType") -> "ClientResponse":
        """Sign one attempt. A body that streams is read whole first: a signature covers all of it.

        Raises:
            ValueError: aiohttp is to compress the body while it sends it; what is sent cannot be signed then.
        """
        if request.compress:
            raise ValueError("compress= cannot be signed: compress the body yourself, and set Content-Encoding")
        headers = request.headers
        for name in OWN_FIELDS:
            headers.pop(name, None)
        body = await _whole(request)
        if request.method in request.POST_METHODS:
            headers.setdefault("Content-Type", _UNTYPED)  # as aiohttp would, but only once it is signed
        url = f"{request.url.scheme}://{headers['Host']}{request.url.raw_path_qs}"
        for name, value in self.signer.headers_for(request.method, url, list(headers.items()), body):
            headers[name] = value
        return await handler(request)


async def _whole(request: "ClientRequest") -> bytes | None:
    """The body as it will be sent; None for none."""
    if not request.body:
        return None
    body: bytes = await request.body.as_bytes()
    request.headers.pop("Transfer-Encoding", None)
    request.chunked = None
    await request.update_body(body)  # with a Content-Length; its Content-Type stays
    return body
