"""Public keys as people hand them over: a JWK file, or a private key's own file."""

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from proxy.agent.keyfile import load_key
from proxy.core.certificates import read_certificates, thumbprint
from proxy.core.encoding import parse_json
from proxy.core.errors import Code, Rejected
from proxy.core.keys import from_jwk
from proxy.core.model import PublicKey

_MAX_BYTES = 65_536


def read_public_key(path: Path) -> PublicKey:
    """The public key in a JWK file, or the public half of a private key (PEM).

    Raises:
        Rejected(CONFIG_INVALID): neither, or a private JWK, which should not be in such a file.
    """
    data = _read(path)
    if data.lstrip().startswith(b"-----BEGIN"):
        return load_key(path).public
    value = parse_json(data, code=Code.CONFIG_INVALID, what=str(path))
    if isinstance(value, dict) and "d" in value:
        raise Rejected(Code.CONFIG_INVALID, f'{path}: a private key ("d") stands here: hand over keys show\'s output')
    return from_jwk(value, code=Code.CONFIG_INVALID, field=str(path))


def certificate_thumbprint(path: Path) -> str:
    """The SHA-256 of the first certificate in a PEM file, as a manifest names it (`x5t#S256`).

    Raises:
        Rejected(CONFIG_INVALID): there is none.
    """
    own = read_certificates(_read(path), where=str(path))[0]
    return thumbprint(own.public_bytes(Encoding.DER))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as fault:
        raise Rejected(Code.CONFIG_INVALID, f"{path}: cannot be read: {fault.strerror}") from None
