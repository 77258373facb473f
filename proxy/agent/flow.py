"""What the auths for httpx and httpx2 share: a fresh signature for every attempt, in sync and async clients.

The two libraries' requests and responses have the same shape; the types named here are httpx's.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING

from proxy.agent.auth import SigningAuth
from proxy.agent.signer import OWN_FIELDS

if TYPE_CHECKING:
    import httpx

_REFUSED = frozenset({403, 407})


class SigningFlow(SigningAuth):
    """Signs each request of a client, or one request, under a manifest."""

    requires_request_body = True

    def auth_flow(self, request: "httpx.Request") -> Generator["httpx.Request", "httpx.Response"]:
        """Sign, and sign again what the client sent on by itself.

        A client that follows redirects does so with the headers it has, so the next hop carries the proof of the one
        before. The proxy refuses that; then it is signed and sent once more.
        """
        self._sign(request)
        response = yield request
        while response.request is not request and _refused(response):
            request = response.request
            self._sign(request)
            response = yield request

    def _sign(self, request: "httpx.Request") -> None:
        for name in OWN_FIELDS:
            request.headers.pop(name, None)
        body = request.read()  # in memory already (requires_request_body), so this reads no stream
        url = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}{request.url.raw_path.decode('ascii')}"
        request.headers.update(self.signer.headers_for(request.method, url, request.headers.multi_items(), body))


def _refused(response: "httpx.Response") -> bool:
    media_type = response.headers.get("content-type", "").partition(";")[0]
    return response.status_code in _REFUSED and media_type == "application/problem+json"
