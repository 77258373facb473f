"""Client certificates shown to the proxy itself: whether one counts, and whose it is (DESIGN: proof level mtls).

The chain is verified here, by cryptography's verifier, and not by the TLS library: what a connection shows is
evidence, and evidence that fails must end in an answer that says why, which a failed handshake cannot.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.verification import (
    ClientVerifier,
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from proxy.core.encoding import b64u
from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, Manifest

MAX_SHOWN = 8
"""Certificates one client may show: its own and those between it and a CA of ours."""

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""Of every key shown: what a longer one signed takes long to check, and anybody may ask for that."""
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+"
_SPIFFE = re.compile(rf"spiffe://[a-z0-9._-]{{1,255}}(?:/{_SEGMENT})+")
_FIELD = "certificate"
_UNREADABLE = (
    ValueError,
    KeyError,  # what the verifier raises for a subject in a kind of string that X.509 does not have
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """A client certificate whose chain was verified."""

    thumbprint: str  # base64url SHA-256 of its DER: what `cnf["x5t#S256"]` names (RFC 8705 §3.1)
    spiffe_id: str | None
    not_before: datetime  # of the whole chain: the latest beginning and the earliest end
    not_after: datetime


def is_spiffe_id(text: str) -> bool:
    """Whether `text` is the SPIFFE id of a workload: a trust domain and a path (SPIFFE-ID §2). Case counts."""
    return len(text) <= 2048 and _SPIFFE.fullmatch(text) is not None


def thumbprint(der: bytes) -> str:
    """What `x5t#S256` says of a certificate."""
    return b64u(hashlib.sha256(der).digest())


def read_certificates(pem: bytes, *, where: str) -> tuple[x509.Certificate, ...]:
    """The certificates in PEM text, at least one. `where` is what messages call it.

    Raises:
        Rejected(CONFIG_INVALID): there is none, or one that cannot be read.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        detail = f"{where} must hold at least one certificate as PEM, and none that cannot be read"
        raise Rejected(Code.CONFIG_INVALID, detail) from None


def verify_certificate(
    shown: Sequence[bytes], anchors: Sequence[x509.Certificate], *, now: datetime
) -> ClientCertificate:
    """Verify what a client showed, its own certificate first (RFC 5280 §6): chain, dates, algorithms, key usage, names.

    `shown` is DER. That the client holds the key is for TLS to prove. Not checked here: what CAs publish about
    revocation (revoke the manifest, or quarantine the agent), and whose it is (`belongs`).

    Raises:
        Rejected(PROOF_CERTIFICATE): it does not count now.
    """
    if not anchors:
        raise _refused("client certificates are not accepted here: tls.client_cas names no CA")
    if not 1 <= len(shown) <= MAX_SHOWN:
        raise _refused(f"a client may show 1 to {MAX_SHOWN} certificates, got {len(shown)}")
    try:
        own, *between = [x509.load_der_x509_certificate(der) for der in shown]
        keys = [each.public_key() for each in (own, *between)]
        if any(isinstance(each, rsa.RSAPublicKey) and each.key_size > MAX_RSA_BITS for each in keys):
            raise _refused(f"an RSA key in the client's certificates has more than {MAX_RSA_BITS} bits")
        chain = _verifier(anchors, now).verify(own, _one_way(between, anchors)).chain
        own.extensions.get_extension_for_class(x509.ExtendedKeyUsage)  # what it says was verified, if it is there
        spiffe_id = _spiffe_id(own)
    except VerificationError as fault:
        raise _refused(_why(own, fault, now=now)) from None
    except x509.ExtensionNotFound:
        raise _refused("the client certificate must be for clients: its extended key usage lacks clientAuth") from None
    except _UNREADABLE:
        raise _refused("the client certificate, or one shown with it, cannot be read") from None
    _check_key(keys[0])
    return ClientCertificate(
        thumbprint=thumbprint(shown[0]),
        spiffe_id=spiffe_id,
        not_before=max(each.not_valid_before_utc for each in chain),
        not_after=min(each.not_valid_after_utc for each in chain),
    )


def belongs(certificate: ClientCertificate, link: Manifest, agent: Agent) -> bool:
    """Whether a certificate is the one a manifest is bound to; if it is bound to none, whether it is its agent's.

    `agent` is the inventory's entry of `link.sub`.
    """
    if link.certificate is not None:
        return link.certificate == certificate.thumbprint
    return certificate.spiffe_id is not None and certificate.spiffe_id in agent.bindings.spiffe


def check_bound(certificate: ClientCertificate | None, link: Manifest, agent: Agent) -> None:
    """Reject a manifest on a connection it is not for: one that shows another's certificate, or not the one it must.

    Raises:
        Rejected(PROOF_CERTIFICATE): the manifest names a certificate (`cnf["x5t#S256"]`) and this is not it; or the
            certificate that is shown is not the agent's.
    """
    if certificate is None:
        if link.certificate is not None:
            detail = f"the mandate is bound to the client certificate {link.certificate}, and the connection shows none"
            raise _refused(f"{detail}: give the proxy as https://, with that certificate")
        return
    if not belongs(certificate, link, agent):
        raise _refused(f"{described(certificate)} is not the one of agent {agent.id}'s mandate")


def described(certificate: ClientCertificate) -> str:
    """What a message calls a certificate."""
    name = f" of {certificate.spiffe_id}" if certificate.spiffe_id else ""
    return f"the client certificate {certificate.thumbprint}{name}"


def _one_way(between: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """One certificate for each name, of several the one that a CA of ours issued.

    The verifier tries every way there is: through seven of one name, each by its own word the issuer of all the others,
    there are millions, and meanwhile nobody is served.
    """
    ours = {anchor.subject for anchor in anchors}
    found: dict[x509.Name, x509.Certificate] = {}
    for each in between:
        known = found.get(each.subject)
        if known is None or (each.issuer in ours and known.issuer not in ours):
            found[each.subject] = each
    return list(found.values())


def _verifier(anchors: Sequence[x509.Certificate], now: datetime) -> ClientVerifier:
    # A client need not have a name, only a key; and the CAs of many houses say nothing of their key's usage.
    ours = ExtensionPolicy.webpki_defaults_ee().may_be_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    theirs = ExtensionPolicy.webpki_defaults_ca().may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs)
    builder = PolicyBuilder().store(Store(list(anchors))).time(now).max_chain_depth(MAX_SHOWN)
    return builder.extension_policies(ca_policy=theirs, ee_policy=ours).build_client_verifier()


def _check_key(key: CertificatePublicKeyTypes) -> None:
    """The verifier looks at the keys of CAs alone, and TLS proves possession of a key that anybody can compute, too."""
    match key:
        case rsa.RSAPublicKey():
            if key.key_size < MIN_RSA_BITS:
                detail = f"the client certificate's RSA key must have at least {MIN_RSA_BITS} bits, got {key.key_size}"
                raise _refused(detail)
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, _CURVES):
            pass
        case ed25519.Ed25519PublicKey():
            pass
        case _:
            raise _refused("the client certificate's key must be RSA, on curve P-256, P-384 or P-521, or Ed25519")


def _signs(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("a CA's key usage must permit signing certificates")


def _spiffe_id(own: x509.Certificate) -> str | None:
    """The one URI of an X509-SVID (SPIFFE X509-SVID §2); a certificate without SPIFFE URIs has none."""
    try:
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if not any(uri.lower().startswith("spiffe:") for uri in uris):
        return None
    if len(uris) != 1 or not is_spiffe_id(uris[0]):
        raise _refused("the client certificate must have one URI, its SPIFFE id, or none that begins with spiffe:")
    return uris[0]


def _why(own: x509.Certificate, fault: VerificationError, *, now: datetime) -> str:
    """The verifier's words name no date; most often that is what is wrong."""
    begins, ends = own.not_valid_before_utc, own.not_valid_after_utc
    if not begins <= now <= ends:
        return f"the client certificate is good from {begins.isoformat()} until {ends.isoformat()} only"
    said = str(fault).removeprefix("validation failed: ").partition(" (encountered processing")[0]
    words = "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in said)
    return f"the client certificate does not verify against the CAs in tls.client_cas: {words[:200]}"


def _refused(detail: str) -> Rejected:
    return Rejected(Code.PROOF_CERTIFICATE, detail, field=_FIELD)
