"""What `tls` of proxy.yaml names is read and checked at start."""

from collections.abc import Callable
from pathlib import Path

import pytest
from certs import Authority
from clientcerts import ClientAuthority
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.core.errors import Code, Rejected
from proxy.edge.client_tls import ClientTls, load_client_tls
from proxy.policy.settings import load_settings


def loaded(folder: Path, tls: str) -> ClientTls:
    path = folder / "proxy.yaml"
    path.write_text(f"version: 1\ndeployment: edge\ntls: {tls}\n")
    return load_client_tls(load_settings(path))


def test_nothing_is_needed(tmp_path: Path) -> None:
    assert loaded(tmp_path, "{}") == ClientTls()


def test_a_certificate_made_elsewhere_and_the_cas_of_clients(tmp_path: Path) -> None:
    Authority().server("proxy.example").write(tmp_path)
    authority = ClientAuthority()
    authority.write(tmp_path)
    found = loaded(tmp_path, "{certificate: server.pem, key: server.key, client_cas: [client-ca.pem], names: [a.b]}")
    assert found.own is not None and found.own.key.public_key() == found.own.chain[0].public_key()
    assert (found.anchors, found.names) == ((authority.certificate,), ("a.b",))


def _other_key(folder: Path) -> None:
    (folder / "server.key").write_bytes(Authority().server("a").key)
    (folder / "server.key").chmod(0o600)


def _edwards(folder: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    (folder / "server.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _leaf_as_ca(folder: Path) -> None:
    ClientAuthority().issue().write(folder, "client-ca")


GOOD = "{certificate: server.pem, key: server.key, client_cas: [client-ca.pem]}"


@pytest.mark.parametrize(
    ("tls", "spoil", "told"),
    [
        pytest.param("{key: server.key}", None, "must both be there, or neither", id="a key alone"),
        pytest.param("{certificate: server.pem}", None, "must both be there, or neither", id="a certificate alone"),
        pytest.param(GOOD, lambda at: (at / "server.key").chmod(0o640), "run: chmod 600", id="a key others can read"),
        pytest.param(GOOD, lambda at: (at / "server.key").unlink(), "cannot be read: No such file", id="no key"),
        pytest.param(GOOD, lambda at: (at / "server.key").write_text("x"), "must hold one PEM key", id="no PEM key"),
        pytest.param(GOOD, _other_key, "is not the key of the first certificate", id="another's key"),
        pytest.param(GOOD, _edwards, "must be an elliptic-curve or RSA key", id="a key of another kind"),
        pytest.param(
            GOOD, lambda at: (at / "server.pem").write_text("x"), "tls.certificate: .*must hold", id="no certificate"
        ),
        pytest.param(
            GOOD, lambda at: (at / "client-ca.pem").write_text("x"), "tls.client_cas: .*must hold", id="no CA at all"
        ),
        pytest.param(GOOD, _leaf_as_ca, "is not a CA's certificate", id="a client's certificate for a CA's"),
    ],
)
def test_what_cannot_be_used_stops_the_start(
    tmp_path: Path, tls: str, spoil: Callable[[Path], None] | None, told: str
) -> None:
    Authority().server("proxy.example").write(tmp_path)
    ClientAuthority().write(tmp_path)
    loaded(tmp_path, GOOD)
    if spoil is not None:
        spoil(tmp_path)
    with pytest.raises(Rejected, match=told) as caught:
        loaded(tmp_path, tls)
    assert caught.value.code is Code.CONFIG_INVALID
