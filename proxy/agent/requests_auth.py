"""`IntentAuth` for requests: a fresh signature for every attempt, redirects and urllib3's retries among them.

    auth = IntentAuth("invoices.jws", "agent.pem", cluster="supplier-invoices", task="T-4711")
    session = requests.Session()
    session.auth = auth
    session.post(url, json=payload, auth=auth.declaring(task="T-4712"))

Use it only behind the proxy, which takes the manifest off: an origin that is called directly can read it.

requests asks an auth once, then follows redirects and retries with the headers it has. So the headers sign themselves
whenever they are written out: each time it is another attempt.
"""

from collections.abc import ItemsView, Mapping
from typing import Self

from requests import PreparedRequest
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict
from requests.utils import urldefragauth

from proxy.agent.auth import SigningAuth
from proxy.agent.signer import OWN_FIELDS, Signer


class IntentAuth(SigningAuth, AuthBase):
    """Signs each request of a session, or one request, under a manifest."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Read the body whole and hand the headers to the signer. A streamed body ends up in memory."""
        body = request.body
        if body is not None:
            whole = body if isinstance(body, str | bytes) else body.read() if hasattr(body, "read") else b"".join(body)
            request.body = whole.encode("utf-8") if isinstance(whole, str) else whole
            vars(request).update(_body_position=None)  # a body in memory needs no rewinding for a redirect
            request.headers.pop("Transfer-Encoding", None)
        return _hand_over(request, self.signer)


class _SigningHeaders(CaseInsensitiveDict[str]):
    """The header lines of one request; reading them as items signs it anew."""

    def __init__(self, request: PreparedRequest, signer: Signer, lines: Mapping[str, str | bytes]) -> None:
        super().__init__()
        self._request, self._signer = request, signer
        for name in lines:
            value = lines[name]
            self[name] = value.decode("latin-1") if isinstance(value, bytes) else value

    def items(self) -> ItemsView[str, str]:
        for name in OWN_FIELDS:
            self.pop(name, None)
        lines = [(name, self[name]) for name in self]
        body = self._request.body
        assert body is None or isinstance(body, bytes)
        for name, value in self._signer.headers_for(self._request.method or "", _url(self._request), lines, body):
            self[name] = value
        return super().items()

    def copy(self) -> Self:
        return type(self)(self._request, self._signer, self)


class _SignedRequest(PreparedRequest):
    """A prepared request whose copies, made for redirects, sign themselves for where they go."""

    headers: _SigningHeaders

    def copy(self) -> PreparedRequest:
        return _hand_over(super().copy(), self.headers._signer)


def _hand_over(request: PreparedRequest, signer: Signer) -> PreparedRequest:
    request.__class__ = _SignedRequest
    request.headers = _SigningHeaders(request, signer, request.headers)
    return request


def _url(request: PreparedRequest) -> str:
    """The URL as it goes on the wire: no userinfo, no fragment, and within TLS no default port, as in Host."""
    scheme, separator, rest = urldefragauth(request.url or "").partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.removesuffix(':443') if scheme == 'https' else authority}{slash}{path}"
