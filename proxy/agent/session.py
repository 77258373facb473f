"""Session proof, for programs that know only HTTPS_PROXY: one signed request buys credentials for an hour.

    session = open_session("http://127.0.0.1:8080", Signer("invoices.jws", "agent.pem"))
    subprocess.run(["curl", url], env={**os.environ, **session.environment})

A session proves less than a signature: it counts only from the address it was opened from, over TLS or loopback, and
not for transformative clusters.
"""

import base64
import http.client
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


def open_session(
    proxy_url: str,
    signer: Signer,
    *,
    proxy_key: PublicKey | None = None,
    ca_file: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Session:
    """Open a session at the proxy.

    `proxy_url` is `http://host:port` or `https://host:port`; `ca_file` is what to trust for the latter, instead of the
    system's roots. `proxy_key` is the node's public key, if known: then the answer must bear its signature. Without it
    the proxy must be reached over TLS or loopback, where nobody else can answer.

    Raises:
        Rejected(CONFIG_INVALID): the URL is not one of these.
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
    length = ("Content-Length", "0")
    lines = signer.lasting(SESSION_LIFE_S).headers_for("POST", SESSION_URL, [length])
    status, headers, body = _post(proxy, [length, *lines], ca_file, timeout_s)
    refused = read_answer(status, headers, body)
    if isinstance(refused, Denied):
        raise Rejected(Code.PROOF_SESSION, f"the proxy opened no session: {refused.detail} ({refused.code})")
    if status != 200:
        raise Rejected(Code.PROOF_SESSION, f"the proxy opened no session: it answered {status}; is it an intent-proxy?")
    sent = dict(lines)
    expected = {
        "nonce": read_signature_input(sent["Signature-Input"], label=LABEL, tag=TAG).parameters["nonce"],
        "sub": parse_manifest(read_chain(sent["Intent-Manifest"])[0]).id,
    }
    return _read(proxy, body, expected=expected, proxy_key=proxy_key)


def _proxy(url: str) -> SplitResult:
    parts = read_proxy_url(url)
    if parts is None:
        raise Rejected(
            Code.CONFIG_INVALID, "the proxy must be http://host:port or https://host:port", field="proxy_url"
        )
    return parts


def _post(
    proxy: SplitResult, lines: list[tuple[str, str]], ca_file: str | None, timeout_s: float
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection: http.client.HTTPConnection
    host, port = proxy.hostname or "", proxy.port
    if proxy.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.putrequest("POST", SESSION_URL, skip_accept_encoding=True)
        for name, value in lines:
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


def _read(proxy: SplitResult, body: bytes, *, expected: Mapping[str, Json], proxy_key: PublicKey | None) -> Session:
    code = Code.PROOF_SESSION
    answer = parse_json(body, code=code, what="the proxy's answer")
    members = answer if isinstance(answer, Mapping) else {}
    token, proof = members.get("token"), members.get("proof")
    if not (isinstance(token, str) and isinstance(proof, str)):
        raise Rejected(code, "the answer must have a token and a proof: is it an intent-proxy?")
    user_info = f"{expected['sub']}:{token}"
    read_basic(f"Basic {base64.b64encode(user_info.encode('utf-8')).decode('ascii')}")  # nothing that ends a user info
    envelope = open_envelope(proof, typ=SESSION_TYP, code=code)
    if proxy_key is not None:
        check_signature(envelope, proxy_key, code=code)
    said, expires = envelope.claims, envelope.claims.get("exp")
    ours = {**expected, "token": sha256_b64u(token.encode("ascii"))}
    if any(said.get(name) != value for name, value in ours.items()):
        raise Rejected(code, "the answer is not one to this request: its nonce, manifest or token differ")
    if not isinstance(expires, int) or not 0 < expires <= MAX_EPOCH_S:
        raise Rejected(code, "the answer must say when the session ends", field="exp")
    place = host_and_port(proxy.hostname or "", proxy.port or 0)
    return Session(proxy_url=f"{proxy.scheme}://{user_info}@{place}", expires_at=from_epoch(expires))
