from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certs
import identities
import pytest
from clientcerts import ClientAuthority
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from origins import Origin, Reply, Request
from proofs import Verifier

from proxy import internal
from proxy.agent.session import SESSION_TYP, SESSION_URL, Shows, open_session
from proxy.agent.signer import Signer
from proxy.core.encoding import sha256_b64u, to_epoch
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.jws import seal
from proxy.core.manifest import parse_manifest
from proxy.core.names import INTERNAL_HOST
from proxy.core.proof import read_chain

NODE = identities.key("node")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def signer() -> Signer:
    return Signer(identities.root(identities.draft(now=now())), identities.key(identities.AGENT))


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(now, then=answer)


@pytest.fixture
def proxy(verifier: Verifier) -> Iterator[Origin]:
    with Origin() as origin:
        origin.on("POST", "*", verifier)
        yield origin


def answer(request: Request, *, key: Any = NODE, token: str = "sealed", **changed: Any) -> Reply:
    """What `proxy.internal` answers, with some of the signed claims changed."""
    chain = [parse_manifest(link) for link in read_chain(request.header("intent-manifest") or "")]
    (nonce,) = [part for part in (request.header("signature-input") or "").split(";") if part.startswith("nonce=")]
    claims = {
        "iss": identities.DEPLOYMENT,
        "sub": chain[0].id,
        "nonce": nonce.partition("=")[2].strip('"'),
        "token": sha256_b64u(token.encode()),
        "exp": to_epoch(chain[-1].exp),
        **changed,
    }
    members = {"manifest": chain[0].id, "token": token, "proof": seal(claims, typ=SESSION_TYP, key=key)}
    return Reply(json=members)


def test_a_session_is_bought_with_one_signed_request(signer: Signer, proxy: Origin, verifier: Verifier) -> None:
    session = open_session(proxy.url(""), signer, proxy_key=NODE.public)
    url = urlsplit(session.proxy_url)
    root = parse_manifest(read_chain(proxy.requests[0].header("intent-manifest") or "")[0])
    assert (url.scheme, url.hostname, url.port) == ("http", proxy.host, proxy.port)
    assert (url.username, url.password) == (root.id, "sealed")
    assert timedelta(minutes=59) < session.expires_at - now() <= timedelta(minutes=60)
    assert (proxy.requests[0].target, len(verifier.evidence), verifier.refused) == (SESSION_URL, 1, [])


def test_its_environment_is_what_other_programs_read(signer: Signer, proxy: Origin) -> None:
    session = open_session(proxy.url(""), signer)
    assert session.environment["HTTPS_PROXY"] == session.environment["http_proxy"] == session.proxy_url
    assert "sealed" not in repr(session)


def test_a_proxy_over_tls_needs_no_key(signer: Signer, verifier: Verifier, tmp_path: Path) -> None:
    authority = certs.Authority()
    with Origin(tls=authority.server("127.0.0.1")) as proxy:
        proxy.on("POST", "*", verifier)
        session = open_session(proxy.url(""), signer, ca_file=str(authority.write(tmp_path)))
        assert session.proxy_url.startswith("https://")


def test_a_proxy_with_a_bad_certificate_gets_nothing(signer: Signer, tmp_path: Path) -> None:
    with Origin(tls=certs.self_signed("127.0.0.1")) as proxy:
        with pytest.raises(Unavailable, match="certificate verify failed"):
            open_session(proxy.url(""), signer, ca_file=str(certs.Authority().write(tmp_path)))
        assert proxy.raw_bytes == b""


def by_certificate(request: Request, **changed: Any) -> Reply:
    """What `proxy.internal` answers to who shows a certificate and signs nothing."""
    root_id, nonce = "R" * 43, request.target.partition("?nonce=")[2]
    told = {"sub": root_id, "nonce": nonce, "token": sha256_b64u(b"sealed"), "exp": to_epoch(now()) + 60, **changed}
    return Reply(json={"manifest": root_id, "token": "sealed", "proof": seal(told, typ=SESSION_TYP, key=NODE)})


def shown(folder: Path, **issued: Any) -> Shows:
    certificate, key = ClientAuthority().issue(**issued).write(folder)
    return Shows(certificate=str(certificate), key=str(key))


def test_a_certificate_opens_one_for_the_mandate_the_proxy_names(tmp_path: Path) -> None:
    authority = certs.Authority()
    ca_file = str(authority.write(tmp_path))
    with Origin(tls=authority.server("127.0.0.1")) as proxy:
        proxy.on("POST", "*", by_certificate)
        session = open_session(proxy.url(""), shows=shown(tmp_path), proxy_key=NODE.public, ca_file=ca_file)
        assert urlsplit(session.proxy_url).username == "R" * 43
        for changed in ({"nonce": "A" * 32}, {"sub": "S" * 43}):
            proxy.on("POST", "*", lambda request, changed=changed: by_certificate(request, **changed))
            with pytest.raises(Rejected, match="not one to this request"):
                open_session(proxy.url(""), shows=shown(tmp_path), ca_file=ca_file)


def _no_file(folder: Path) -> Shows:
    return Shows(certificate=str(folder / "no.pem"), key=str(folder / "no.key"))


def _another_key(folder: Path) -> Shows:
    (folder / "other").mkdir()
    return Shows(certificate=shown(folder).certificate, key=shown(folder / "other").key)


def _locked(folder: Path) -> Shows:
    """A key with a password, which nobody is to be asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = shown(folder, key=key)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    Path(own.key).write_bytes(pem)
    return own


@pytest.mark.parametrize("make", [_no_file, _another_key, _locked], ids=["no file", "another's key", "a locked key"])
def test_a_certificate_that_cannot_be_used_is_told_by_name(tmp_path: Path, make: Callable[[Path], Shows]) -> None:
    with pytest.raises(Rejected, match=r"\.pem and key .*\.key cannot be used") as caught:
        open_session("https://127.0.0.1:1", shows=make(tmp_path))
    assert caught.value.code is Code.CONFIG_INVALID


def test_what_a_session_is_opened_with_must_be_given(signer: Signer, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="with a signer, or with the client certificate"):
        open_session("https://127.0.0.1:1")
    with pytest.raises(Rejected, match="a client certificate is shown in TLS: give the proxy as https://"):
        open_session("http://127.0.0.1:1", signer, shows=shown(tmp_path))
    with pytest.raises(Rejected, match=r"the CA in .*no\.pem cannot be used"):
        open_session("https://127.0.0.1:1", signer, ca_file=str(tmp_path / "no.pem"))


def test_over_a_network_the_answer_must_be_signed(signer: Signer) -> None:
    with pytest.raises(Rejected, match="give the proxy as https://, or its public key") as caught:
        open_session("http://192.0.2.1:8080", signer)
    assert caught.value.code is Code.PROOF_CHANNEL


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        pytest.param({"key": identities.key("somebody")}, Code.PROOF_SESSION, id="signed by somebody else"),
        pytest.param({"nonce": "A" * 22}, Code.PROOF_SESSION, id="an answer to another request"),
        pytest.param({"sub": "B" * 43}, Code.PROOF_SESSION, id="for another mandate"),
        pytest.param({"exp": "soon"}, Code.PROOF_SESSION, id="without an end"),
        pytest.param({"exp": 10**15}, Code.PROOF_SESSION, id="with an impossible end"),
        pytest.param({"token": "x@evil.example:80/"}, Code.PROOF_MALFORMED, id="a token that names another proxy"),
        pytest.param({"token": "é"}, Code.PROOF_MALFORMED, id="a token that is not ASCII"),
    ],
)
def test_an_answer_that_is_not_the_proxys_is_refused(
    changed: dict[str, Any], code: Code, signer: Signer, proxy: Origin
) -> None:
    proxy.on("POST", "*", lambda request: answer(request, **changed))
    with pytest.raises(Rejected) as caught:
        open_session(proxy.url(""), signer, proxy_key=NODE.public)
    assert caught.value.code is code


def swapped(request: Request) -> Reply:
    """Another token than the signed one."""
    real = answer(request).json
    return Reply(json={**real, "token": "other"})


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(swapped, "its nonce, manifest or token differ", id="a token that was not signed"),
        pytest.param(Reply(json=[]), "must have a token", id="another document"),
        pytest.param(Reply(body=b"<html>"), "strict JSON", id="a web page"),
        pytest.param(Reply(status=404), "answered 404; is it an intent-proxy", id="another server"),
        pytest.param(
            Reply(
                status=407,
                headers=(("Content-Type", "application/problem+json"),),
                json={
                    "type": "http://intent.internal/problems/proof.channel",
                    "code": "proof.channel",
                    "detail": "Reach the proxy over TLS.",
                },
            ),
            r"Reach the proxy over TLS. \(proof.channel\)",
            id="a refusal",
        ),
    ],
)
def test_what_is_not_a_session_says_so(reply: Any, message: str, signer: Signer, proxy: Origin) -> None:
    proxy.on("POST", "*", reply)
    with pytest.raises(Rejected, match=message) as caught:
        open_session(proxy.url(""), signer, proxy_key=NODE.public)
    assert caught.value.code is Code.PROOF_SESSION


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://127.0.0.1:1", "http://127.0.0.1", "http://h:99999", "http://h:1/path", ""]
)
def test_a_url_that_is_no_proxys_is_refused(url: str, signer: Signer) -> None:
    with pytest.raises(Rejected, match="http://host:port") as caught:
        open_session(url, signer)
    assert caught.value.code is Code.CONFIG_INVALID


@pytest.mark.parametrize(
    "open_at",
    [
        pytest.param(lambda origin: origin.on("POST", "*", Reply(cut_after=0)), id="it hangs up"),
        pytest.param(
            lambda origin: origin.on("POST", "*", Reply(raw=b"SSH-2.0\r\n", then="close")), id="it is not HTTP"
        ),
    ],
)
def test_a_proxy_that_does_not_answer_is_unavailable(
    open_at: Callable[[Origin], None], signer: Signer, proxy: Origin
) -> None:
    open_at(proxy)
    with pytest.raises(Unavailable, match="does not answer") as caught:
        open_session(proxy.url(""), signer)
    assert caught.value.code is Code.UPSTREAM_CONNECT


def test_the_address_is_the_proxys_own() -> None:
    assert SESSION_URL.split("/")[2] == INTERNAL_HOST


def test_client_and_server_mean_the_same_statement() -> None:
    assert internal.SESSION_TYP == SESSION_TYP
