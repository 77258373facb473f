"""Session proof, for programs that know only HTTPS_PROXY: one signed request buys credentials for an hour.

    session = open_session("http://127.0.0.1:8080", Signer("invoices.jws", "agent.pem"))
    subprocess.run(["curl", url], env={**os.environ, **session.environment})

A session proves less than a signature: it counts only from the address it was opened from, over TLS or loopback, and
not for transformative clusters. An agent that shows a client certificate opens one with that:

    session = open_session("https://proxy.example:8443", shows=Shows(certificate="client.pem", key="client.key"))
"""

import base64
import http.client
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import SplitResult

from proxy.agent.answers import Denied, read_answer
from proxy.agent.proxyurl import host_and_port, is_loopback, read_proxy_url
from proxy.agent.signer import Signer
from proxy.agent.variables import leading_to
from proxy.core.encoding import MAX_EPOCH_S, Json, from_epoch, parse_json, sha256_b64u
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.fields import read_signature_input
from proxy.core.jws import check_signature, open_envelope
from proxy.core.manifest import parse_manifest
from proxy.core.model import PublicKey
from proxy.core.proof import LABEL, TAG, read_chain
from proxy.core.session import SESSION_LIFE_S, read_basic

SESSION_URL = "http://intent.internal/session"
SESSION_TYP = "intent-session+jwt"
TIMEOUT_S = 10.0

_MAX_ANSWER_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Credentials for the proxy, in the form of its URL. A secret: its `repr` leaves it out."""

    proxy_url: str = field(repr=False)
    expires_at: datetime

    @property
    def environment(self) -> dict[str, str]:
        """The variables that send a program's calls through the proxy."""
        return leading_to(self.proxy_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shows:
    """A client certificate for the proxy: PEM files, the certificate with those between it and its CA, and its key."""

    certificate: str
    key: str


def open_session(
    proxy_url: str,
    signer: Signer | None = None,
    *,
    shows: Shows | None = None,
    proxy_key: PublicKey | None = None,
    ca_file: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Session:
    """Open a session at the proxy, with a signature, or with a client certificate that a mandate is registered for;
    with both where the manifest is bound to a certificate.

    `proxy_url` is `http://host:port` or `https://host:port`; `ca_file` is what to trust for the latter, instead of the
    system's roots. `proxy_key` is the node's public key, if known: then the answer must bear its signature. Without it
    the proxy must be reached over TLS or loopback, where nobody else can answer.

    Raises:
        Rejected(CONFIG_INVALID): the URL is not one of these, there is nothing to prove a mandate with, or the
            certificate or its key cannot be used.
        Rejected(PROOF_CHANNEL): neither a key to check the answer with, nor a private channel.
        Rejected(PROOF_SESSION): the proxy refused, or the answer is not one to this request.
        Rejected(PROOF_MALFORMED): the answer's token cannot be one.
        Rejected: as `Signer.headers_for`.
        Unavailable(UPSTREAM_CONNECT): the proxy does not answer.
    """
    proxy = _proxy(proxy_url)
    if proxy_key is None and proxy.scheme != "https" and not is_loopback(proxy.hostname or ""):
        detail = f"anybody on the way to {proxy.hostname} could answer: give the proxy as https://, or its public key"
        raise Rejected(Code.PROOF_CHANNEL, detail, field="proxy_url")
    if shows is not None and proxy.scheme != "https":
        detail = "a client certificate is shown in TLS: give the proxy as https://host:port (tls.listen of proxy.yaml)"
        raise Rejected(Code.CONFIG_INVALID, detail, field="proxy_url")
    asked = _Asked.by(signer, shows)
    status, headers, body = _post(proxy, asked, ca_file, shows, timeout_s)
    refused = read_answer(status, headers, body)
    if isinstance(refused, Denied):
        raise Rejected(Code.PROOF_SESSION, f"the proxy opened no session: {refused.detail} ({refused.code})")
    if status != 200:
        raise Rejected(Code.PROOF_SESSION, f"the proxy opened no session: it answered {status}; is it an intent-proxy?")
    return _read(proxy, body, asked, proxy_key=proxy_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request for a session, and what tells an answer to it from every other."""

    url: str
    lines: tuple[tuple[str, str], ...]
    nonce: str
    root_id: str | None  # of the mandate; None: the proxy knows which is registered

    @classmethod
    def by(cls, signer: Signer | None, shows: Shows | None) -> "_Asked":
        length = ("Content-Length", "0")
        if signer is None:
            if shows is None:
                detail = "a session is opened with a signer, or with the client certificate a mandate is registered for"
                raise Rejected(Code.CONFIG_INVALID, detail)
            nonce = secrets.token_urlsafe(24)
            return cls(url=f"{SESSION_URL}?nonce={nonce}", lines=(length,), nonce=nonce, root_id=None)
        lines = signer.lasting(SESSION_LIFE_S).headers_for("POST", SESSION_URL, [length])
        sent = dict(lines)
        parameters = read_signature_input(sent["Signature-Input"], label=LABEL, tag=TAG).parameters
        root = parse_manifest(read_chain(sent["Intent-Manifest"])[0])
        return cls(url=SESSION_URL, lines=(length, *lines), nonce=str(parameters["nonce"]), root_id=root.id)


def _proxy(url: str) -> SplitResult:
    parts = read_proxy_url(url)
    if parts is None:
        raise Rejected(
            Code.CONFIG_INVALID, "the proxy must be http://host:port or https://host:port", field="proxy_url"
        )
    return parts


def _trust(ca_file: str | None, shows: Shows | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as fault:
        why = fault.strerror or getattr(fault, "reason", None) or type(fault).__name__
        raise Rejected(Code.CONFIG_INVALID, f"the CA in {ca_file} cannot be used: {why}; it must be PEM") from None
    if shows is not None:
        try:
            context.load_cert_chain(shows.certificate, shows.key, password="")  # nobody is asked for one
        except OSError as fault:
            why = fault.strerror or getattr(fault, "reason", None) or type(fault).__name__
            detail = f"certificate {shows.certificate} and key {shows.key} cannot be used: {why}; both must be PEM"
            raise Rejected(Code.CONFIG_INVALID, f"{detail}, the key without a password") from None
    return context


def _post(
    proxy: SplitResult, asked: _Asked, ca_file: str | None, shows: Shows | None, timeout_s: float
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection: http.client.HTTPConnection
    host, port = proxy.hostname or "", proxy.port
    if proxy.scheme == "https":
        context = _trust(ca_file, shows)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.putrequest("POST", asked.url, skip_accept_encoding=True)
        for name, value in asked.lines:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read(_MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as fault:
        why = (fault.strerror if isinstance(fault, OSError) else "") or fault or type(fault).__name__
        detail = f"the proxy at {host}:{port} does not answer: {why}"
        raise Unavailable(Code.UPSTREAM_CONNECT, detail) from None
    finally:
        connection.close()


def _read(proxy: SplitResult, body: bytes, asked: _Asked, *, proxy_key: PublicKey | None) -> Session:
    code = Code.PROOF_SESSION
    answer = parse_json(body, code=code, what="the proxy's answer")
    members = answer if isinstance(answer, Mapping) else {}
    token, proof = members.get("token"), members.get("proof")
    if not (isinstance(token, str) and isinstance(proof, str)):
        raise Rejected(code, "the answer must have a token and a proof: is it an intent-proxy?")
    root_id = asked.root_id or members.get("manifest")
    user_info = f"{root_id}:{token}"
    read_basic(f"Basic {base64.b64encode(user_info.encode('utf-8')).decode('ascii')}")  # nothing that ends a user info
    envelope = open_envelope(proof, typ=SESSION_TYP, code=code)
    if proxy_key is not None:
        check_signature(envelope, proxy_key, code=code)
    said, expires = envelope.claims, envelope.claims.get("exp")
    ours: dict[str, Json] = {"nonce": asked.nonce, "sub": root_id, "token": sha256_b64u(token.encode("ascii"))}
    if any(said.get(name) != value for name, value in ours.items()):
        raise Rejected(code, "the answer is not one to this request: its nonce, manifest or token differ")
    if not isinstance(expires, int) or not 0 < expires <= MAX_EPOCH_S:
        raise Rejected(code, "the answer must say when the session ends", field="exp")
    place = host_and_port(proxy.hostname or "", proxy.port or 0)
    return Session(proxy_url=f"{proxy.scheme}://{user_info}@{place}", expires_at=from_epoch(expires))
