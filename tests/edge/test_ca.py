"""The proxy's certificate authority: made once, kept private, and leaves that any strict client accepts."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import verification

from proxy.core.errors import Code, Rejected
from proxy.edge.ca import CA_LIFE, load_authority

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def test_it_is_made_on_first_start_and_the_same_ever_after(tmp_path: Path) -> None:
    first = load_authority(tmp_path / "ca", deployment="edge", now=NOW)
    again = load_authority(tmp_path / "ca", deployment="edge", now=NOW + timedelta(days=30))
    assert first.fingerprint() == again.fingerprint()
    assert (tmp_path / "ca" / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    assert isinstance(first.certificate.public_key(), ec.EllipticCurvePublicKey)


def test_a_key_others_can_read_is_refused_with_the_mend(tmp_path: Path) -> None:
    load_authority(tmp_path, deployment="edge", now=NOW)
    key = tmp_path / "ca-key.pem"
    key.chmod(0o640)
    with pytest.raises(Rejected, match=rf"got mode 0640; run: chmod 600 {key}") as refused:
        load_authority(tmp_path, deployment="edge", now=NOW)
    assert refused.value.code is Code.CONFIG_INVALID
    key.chmod(0o600)
    load_authority(tmp_path, deployment="edge", now=NOW)


def test_half_a_ca_is_refused_not_made_anew(tmp_path: Path) -> None:
    load_authority(tmp_path, deployment="edge", now=NOW)
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(Rejected, match="missing while its other half is there"):
        load_authority(tmp_path, deployment="edge", now=NOW)


def test_another_key_beside_the_certificate_is_refused(tmp_path: Path) -> None:
    load_authority(tmp_path, deployment="edge", now=NOW)
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "ca-key.pem").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(Rejected, match="is not the elliptic-curve key of"):
        load_authority(tmp_path, deployment="edge", now=NOW)


def test_an_expired_ca_is_refused_with_what_to_do(tmp_path: Path) -> None:
    load_authority(tmp_path, deployment="edge", now=NOW)
    with pytest.raises(Rejected, match=r"expired on 2028-06-04; move .* aside"):
        load_authority(tmp_path, deployment="edge", now=NOW + CA_LIFE)


@pytest.mark.parametrize("name", ["erp.example", "127.0.0.1", "::1"])
def test_a_leaf_is_for_its_name_and_its_key_is_not_the_cas(tmp_path: Path, name: str) -> None:
    authority = load_authority(tmp_path, deployment="edge", now=NOW)
    leaf = authority.leaf((name,), now=NOW)
    assert leaf.certificate.public_key() != authority.certificate.public_key()
    store = verification.Store([authority.certificate])
    builder = verification.PolicyBuilder().store(store).time(NOW)
    subject: x509.DNSName | x509.IPAddress
    if name[0].isalpha():
        subject = x509.DNSName(name)
    else:
        subject = x509.IPAddress(
            leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
                x509.IPAddress
            )[0]
        )
    builder.build_server_verifier(subject).verify(leaf.certificate, [])


def test_leaves_are_remembered_and_renewed_in_time(tmp_path: Path) -> None:
    authority = load_authority(tmp_path, deployment="edge", now=NOW)
    first = authority.leaf(("erp.example",), now=NOW)
    assert authority.leaf(("erp.example",), now=NOW + timedelta(days=5)) is first
    renewed = authority.leaf(("erp.example",), now=NOW + timedelta(days=6, hours=1))
    assert renewed.certificate.not_valid_after_utc > first.certificate.not_valid_after_utc


def test_python_trusts_the_exported_certificate(tmp_path: Path) -> None:
    authority = load_authority(tmp_path, deployment="edge", now=datetime.now(UTC))
    context = ssl.create_default_context(cadata=authority.pem().decode("ascii"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert context.cert_store_stats()["x509_ca"] >= 1
