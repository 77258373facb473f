import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from proxy.agent.keyfile import fresh_key, load_key, new_key, save_key
from proxy.core.errors import Code, Rejected
from proxy.core.keys import sign, verifies


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_a_key_comes_back_as_it_was_saved(tmp_path: Path, alg: str) -> None:
    path = tmp_path / "agent.pem"
    made = new_key(path, alg)
    read = load_key(path)
    assert read.public == made.public
    assert verifies(made.public, b"message", sign(read, b"message"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        new_key(tmp_path / "agent.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "agent.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601], ids=lambda mode: f"mode {mode:04o}")
def test_a_key_others_may_touch_is_refused_with_the_mending_command(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "agent.pem"
    new_key(path)
    path.chmod(mode)
    with pytest.raises(Rejected, match=f"{mode:04o}: chmod 600 '{path}'") as caught:
        load_key(path)
    assert caught.value.code is Code.CONFIG_INVALID
    path.chmod(0o600)
    load_key(path)


def test_an_existing_file_or_link_is_never_replaced(tmp_path: Path) -> None:
    path, link, target = tmp_path / "agent.pem", tmp_path / "link.pem", tmp_path / "elsewhere.pem"
    made = new_key(path)
    link.symlink_to(target)
    for name in (path, link):
        with pytest.raises(Rejected, match="never replaced"):
            new_key(name)
    assert load_key(path).public == made.public
    assert not target.exists()


def test_a_missing_folder_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be written: No such file"):
        save_key(tmp_path / "no" / "agent.pem", fresh_key())


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "agent.pem"
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Rejected, match="No space left"):
        new_key(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        pytest.param(b"", "PKCS#8 in PEM", id="empty"),
        pytest.param(b"not a key", "PKCS#8 in PEM", id="not PEM"),
        pytest.param(
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
            ),
            "unencrypted",
            id="encrypted",
        ),
        pytest.param(
            rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "Ed25519 or P-256",
            id="an RSA key",
        ),
        pytest.param(
            ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "Ed25519 or P-256",
            id="another curve",
        ),
    ],
)
def test_what_is_not_a_key_is_refused(tmp_path: Path, pem: bytes, reason: str) -> None:
    path = tmp_path / "agent.pem"
    path.touch(0o600)
    path.write_bytes(pem)
    with pytest.raises(Rejected, match=reason):
        load_key(path)


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="intent-proxy keys new"):
        load_key(tmp_path / "agent.pem")


def test_a_directory_is_not_a_key(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be read: Is a directory"):
        load_key(tmp_path)


def test_a_device_is_not_a_key() -> None:
    with pytest.raises(Rejected, match="regular file"):
        load_key(Path("/dev/null"))


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(Rejected, match="must be Ed25519 or ES256, got 'RS256'"):
        fresh_key("RS256")
