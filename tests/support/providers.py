"""An OpenID Connect provider of our own: real HTTP, real TLS, real signatures; and a way to make it lie.

with provider(directory) as idp:
    idp.person = {"sub": "u-1", "email": "maria@example.com", "email_verified": True}
    idp.claims["nonce"] = "another"      # what the next tokens say instead; None leaves a claim out
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode

import certs
import uvicorn
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from proxy.core.encoding import b64u
from proxy.policy.oidc import OidcProvider
from proxy.review.desk.oidc.asking import Answer
from proxy.review.desk.oidc.provider import Provider

CLIENT, SECRET = "review-desk", "s3cret +/:%"
WAIT_S = 15


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def ec_key(kid: str = "ec-1") -> Key:
    return ECKey.generate_key("P-256", {"kid": kid})


def okp_key(kid: str = "okp-1") -> Key:
    return OKPKey.generate_key("Ed25519", {"kid": kid})


@functools.cache
def rsa_key(kid: str = "rsa-1", bits: int = 2048) -> Key:
    return RSAKey.generate_key(bits, {"kid": kid})


@dataclass(kw_only=True)
class IdP:
    """The provider. Everything that starts with nothing is as it should be."""

    issuer: str
    now: Callable[[], datetime]
    ca: Path | None = None
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "u-1"})
    asks: bool = False  # whether a page asks before it sends a browser back
    key: Key = field(default_factory=ec_key)
    alg: str = "ES256"
    published: list[dict[str, Any]] | None = None  # else the public half of `key`
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    back: dict[str, str | None] = field(default_factory=dict)  # parameters of its answer instead
    token_answer: Response | None = None
    make_token: Callable[[dict[str, Any]], str] | None = None
    discovery: Response | None = None
    secret: str | None = SECRET
    redirects: frozenset[str] = frozenset()  # registered by the desk
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)  # method and path of everything that was asked
    asked: list[dict[str, str]] = field(default_factory=list)  # what the authorization endpoint was asked
    posted: list[dict[str, str]] = field(default_factory=list)  # what the token endpoint was sent
    authorized: list[str] = field(default_factory=list)  # with which Authorization headers

    def app(self) -> Starlette:
        def noted(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
            async def serve(request: Request) -> Response:
                self.seen.append(f"{request.method} {request.url.path}")
                answer = handler(request)
                return await answer if asyncio.iscoroutine(answer) else answer

            return serve

        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", noted(self._discovery)),
                Route("/authorize", noted(self._authorize), methods=["GET", "POST"]),
                Route("/token", noted(self._token), methods=["POST"]),
                Route("/keys", noted(self._keys)),
            ]
        )

    def _discovery(self, _: Request) -> Response:
        if self.discovery is not None:
            return self.discovery
        told = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return JSONResponse({name: value for name, value in told.items() if value is not None})

    def _keys(self, _: Request) -> Response:
        own = [self.key.as_dict(private=False)]
        return JSONResponse({"keys": own if self.published is None else self.published})

    async def _authorize(self, request: Request) -> Response:
        given = {name: values[0] for name, values in parse_qs(request.url.query).items()}
        if request.method == "GET":
            self.asked.append(given)
        assert given["response_type"] == "code" and given["client_id"] == CLIENT
        assert given["redirect_uri"] in self.redirects, given["redirect_uri"]
        assert given["code_challenge_method"] == "S256" and len(given["code_challenge"]) == 43
        assert "openid" in given["scope"].split() and given["state"] and given["nonce"]
        if self.asks and request.method == "GET":
            return HTMLResponse(
                "<!doctype html><title>Login</title><h1>Who are you?</h1>"
                '<form method="post"><button>It is me</button></form>'
            )
        code = base64.urlsafe_b64encode(hashlib.sha256(given["state"].encode()).digest()).decode()
        self.codes[code] = given
        answer = {"code": code, "state": given["state"], "iss": self.issuer, **self.back}
        query = urlencode({name: value for name, value in answer.items() if value is not None})
        return RedirectResponse(f"{given['redirect_uri']}?{query}", status_code=302)

    async def _token(self, request: Request) -> Response:
        body = (await request.body()).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.posted.append(form)
        self.authorized.append(request.headers.get("authorization", ""))
        if self.token_answer is not None:
            return self.token_answer
        if not self._knows_client(form):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        begun = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if (
            begun is None
            or form["redirect_uri"] != begun["redirect_uri"]
            or challenge.decode().rstrip("=") != begun["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        return JSONResponse(
            {"access_token": "at-1", "token_type": "Bearer", "expires_in": 60, "id_token": self.token(begun["nonce"])}
        )

    def _knows_client(self, form: dict[str, str]) -> bool:
        authorization = self.authorized[-1]
        if self.secret is None:
            return form.get("client_id") == CLIENT and not authorization
        if authorization.startswith("Basic "):
            name, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
            return (unquote_plus(name), unquote_plus(secret)) == (CLIENT, self.secret)
        return (form.get("client_id"), form.get("client_secret")) == (CLIENT, self.secret)

    def token(self, nonce: str) -> str:
        """An ID token for the person who is signed in here, or what it says instead."""
        now = int(self.now().timestamp())
        told = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "auth_time": now,
            "nonce": nonce,
            **self.person,
            **self.claims,
        }
        claims = {name: value for name, value in told.items() if value is not None}
        if self.make_token is not None:
            return self.make_token(claims)
        return sign(claims, self.key, self.alg, **self.header)


def sign(claims: dict[str, Any] | bytes, key: Key, alg: str, **header: Any) -> str:
    """A token by this key, with whatever header. `by` in it: how it is really signed."""
    told = {"alg": alg, "kid": key.kid, **header}
    by = JWSRegistry.algorithms[told.pop("by", alg)]
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    head = json.dumps({name: value for name, value in told.items() if value is not None}).encode()
    signed = f"{b64u(head)}.{b64u(payload)}"
    return f"{signed}.{b64u(by.sign(signed.encode(), key))}"


def unsigned(claims: dict[str, Any], alg: str = "none") -> str:
    """A token that nobody signed."""
    return f"{b64u(json.dumps({'alg': alg}).encode())}.{b64u(json.dumps(claims).encode())}."


@contextlib.contextmanager
def provider(
    directory: Path, *, now: Callable[[], datetime], tls: certs.Leaf | bool = True, **about: Any
) -> Iterator[IdP]:
    """A provider on loopback: with TLS under a CA of its own, with this certificate, or as plain HTTP."""
    sock = socket.create_server(("127.0.0.1", 0))
    port, folder = sock.getsockname()[1], directory / "idp"
    folder.mkdir()
    options: dict[str, Any] = {}
    ca = None
    if tls is not False:
        authority = certs.Authority("a provider")
        leaf = authority.server("localhost", "127.0.0.1") if tls is True else tls
        pem, key = leaf.write(folder)
        ca = authority.write(folder, "ca")
        options = {"ssl_certfile": str(pem), "ssl_keyfile": str(key)}
    idp = IdP(issuer=f"{'http' if tls is False else 'https'}://localhost:{port}", now=now, ca=ca, **about)
    server = _Server(uvicorn.Config(idp.app(), log_config=None, lifespan="off", ws="none", **options))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])), daemon=True)
    thread.start()
    try:
        yield idp
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        sock.close()


def trusting(ca: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def described(clock: Callable[[], datetime]) -> Provider:
    """A provider as a desk knows it that says what it is, and nothing else: without a network."""
    issuer = "https://login.example"
    says = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/keys",
        "code_challenge_methods_supported": ["S256"],
        "keys": [ec_key().as_dict(private=False)],
    }

    async def ask(url: str, *, body: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        return Answer(status=200, body=json.dumps(says).encode())

    told = OidcProvider(issuer=issuer, client_id=CLIENT, name="Acme Login")
    return Provider(told, ask=ask, secret=None, clock=clock)
