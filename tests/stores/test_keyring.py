"""The secret as several keys, and the file they are kept in."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.encoding import b64u
from proxy.core.errors import Code, Rejected
from proxy.stores.keyring import Keyring, RingFile, Role, read_keyring, read_keyring_text, single
from proxy.stores.vault import SecretVault, open_vault

ONE, TWO, THREE = bytes(range(32)), bytes([7]) * 32, bytes([9]) * 32
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2027, 3, 2, 12, tzinfo=UTC)


def roles(ring: Keyring) -> list[tuple[bytes, Role]]:
    return [(key.secret, key.role) for key in ring.keys]


def write(path, data: bytes, mode: int = 0o600):
    path.write_bytes(data)
    path.chmod(mode)
    return path


# --- rotation --------------------------------------------------------------------------------------------------------


def test_a_new_key_seals_and_the_older_ones_open():
    ring = single(ONE).rotated(TWO, now=NOON).rotated(THREE, now=LATER)
    assert roles(ring) == [(ONE, Role.OPEN), (TWO, Role.OPEN), (THREE, Role.SEAL)]
    assert ring.sealing.secret == THREE
    assert [key.at for key in ring.keys] == [NOON, LATER, LATER]


def test_a_prepared_key_opens_until_it_is_rotated_in():
    ring = single(ONE).prepared(TWO, now=NOON)
    assert roles(ring) == [(ONE, Role.SEAL), (TWO, Role.NEXT)]
    assert roles(ring.rotated(THREE, now=LATER)) == [(ONE, Role.OPEN), (TWO, Role.SEAL)]


def test_a_key_is_dropped_but_never_the_one_that_seals():
    ring = single(ONE).rotated(TWO, now=NOON)
    assert roles(ring.without([key.id for key in ring.keys])) == [(TWO, Role.SEAL)]


def test_the_key_for_hashes_stays_whatever_becomes_of_the_others():
    before = SecretVault(ONE).keyed_hash("Bearer s3cret")
    ring = single(ONE).rotated(TWO, now=NOON).without([single(ONE).sealing.id])
    assert ONE not in [key.secret for key in ring.keys]
    assert SecretVault(Fixed(ring)).keyed_hash("Bearer s3cret") == before


class Fixed:
    def __init__(self, ring: Keyring) -> None:
        self.ring = ring

    def current(self) -> Keyring:
        return self.ring


def test_what_an_older_key_sealed_is_read_and_what_a_dropped_one_sealed_is_not():
    ring = single(ONE).rotated(TWO, now=NOON)
    sealed, session = SecretVault(ONE).seal("hold-1", b"call"), SecretVault(ONE).seal_session(b"grant")
    vault = SecretVault(Fixed(ring))
    assert (vault.unseal("hold-1", sealed), vault.unseal_session(session)) == (b"call", b"grant")
    without = SecretVault(Fixed(ring.without([single(ONE).sealing.id])))
    with pytest.raises(Rejected, match="does not have") as caught:
        without.unseal("hold-1", sealed)
    assert caught.value.code is Code.HOLD_TAMPERED
    with pytest.raises(Rejected) as caught:
        without.unseal_session(session)
    assert caught.value.code is Code.PROOF_SESSION


def test_a_data_key_is_wrapped_anew_without_touching_the_call():
    old, new = SecretVault(ONE), SecretVault(Fixed(single(ONE).rotated(TWO, now=NOON)))
    sealed = old.seal("hold-1", b"call")
    assert not new.is_current(sealed)
    head = new.rewrap("hold-1", sealed[:69])
    assert new.is_current(head)
    assert SecretVault(TWO).unseal("hold-1", head + sealed[69:]) == b"call"
    with pytest.raises(Rejected):
        new.rewrap("hold-2", sealed[:69])


# --- its form --------------------------------------------------------------------------------------------------------


def test_a_keyring_is_read_back_as_it_was():
    ring = single(ONE).rotated(TWO, now=NOON).prepared(THREE, now=LATER)
    assert read_keyring(ring.to_bytes(), where="here") == ring
    assert read_keyring_text(ring.to_bytes().decode(), where="$HERE") == ring
    assert read_keyring_text(ring.to_bytes().decode().strip().replace("\n", ";"), where="$HERE") == ring


def test_a_bare_secret_is_a_keyring_of_one():
    assert read_keyring(ONE, where="here") == single(ONE)
    assert read_keyring_text(f" {b64u(ONE)}\n", where="$HERE") == single(ONE)


HEAD = "intent-proxy-keyring 1"
HASH, SEAL = f"hash {b64u(ONE)}", f"seal {b64u(TWO)} 0"


def test_a_keyring_that_was_cut_short_is_no_bare_secret():
    """Whoever took it for one would seal with a key that can be guessed, and open nothing."""
    data = f"{HEAD}\n{HASH}\n{SEAL}\n".encode()
    for length in range(data.index(b"seal") + 48):
        with pytest.raises(Rejected):
            read_keyring(data[:length], where="here")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([HEAD], id="no key"),
        pytest.param([HEAD, SEAL], id="no key for hashes"),
        pytest.param([HEAD, HASH, HASH, SEAL], id="two keys for hashes"),
        pytest.param([HEAD, HASH, SEAL, f"seal {b64u(THREE)} 0"], id="two keys that seal"),
        pytest.param([HEAD, HASH, f"open {b64u(TWO)} 0"], id="none that seals"),
        pytest.param([HEAD, HASH, SEAL, f"open {b64u(TWO)} 0"], id="a key twice"),
        pytest.param([HEAD, HASH, SEAL, f"shut {b64u(THREE)} 0"], id="another word"),
        pytest.param([HEAD, HASH, SEAL, "open short 0"], id="no key in its place"),
        pytest.param([HEAD, HASH, SEAL, f"open {b64u(THREE)}"], id="no time"),
        pytest.param([HEAD, HASH, SEAL, f"open {b64u(THREE)} never"], id="a time that is none"),
        pytest.param([HEAD, HASH, SEAL, f"open {b64u(THREE)} {10**30}"], id="a time that cannot be"),
        pytest.param([HEAD, HASH, "", SEAL], id="an empty line"),
        pytest.param(["intent-proxy-keyring 2", HASH, SEAL], id="another version"),
    ],
)
def test_anything_else_is_refused_and_not_repeated(lines):
    read_keyring(f"{HEAD}\n{HASH}\n{SEAL}\n".encode(), where="here")
    for read in (lambda: read_keyring("\n".join(lines).encode(), where="here"), lambda: text("\n".join(lines))):
        with pytest.raises(Rejected) as caught:
            read()
        assert caught.value.code is Code.CONFIG_INVALID
        assert not any(b64u(secret) in caught.value.detail for secret in (ONE, TWO, THREE))


def text(data: str) -> Keyring:
    return read_keyring_text(data, where="$HERE")


@given(st.binary(max_size=200), st.text(max_size=100))
def test_reading_anything_raises_nothing_but_rejected(data, more):
    for read in (
        lambda: read_keyring(data, where="here"),
        lambda: read_keyring(HEAD.encode() + data, where="here"),
        lambda: text(HEAD + "\n" + more),
        lambda: text(more),
    ):
        try:
            read()
        except Rejected as fault:
            assert fault.code is Code.CONFIG_INVALID


# --- its file --------------------------------------------------------------------------------------------------------


def test_another_file_is_taken_up_at_once(tmp_path):
    vault = open_vault(write(tmp_path / "secret.key", ONE))
    sealed = vault.seal("hold-1", b"call")
    other = RingFile(tmp_path / "secret.key")
    with other.changing() as ring:
        other.write(ring.rotated(TWO, now=NOON))
    assert not vault.is_current(sealed)
    assert vault.unseal("hold-1", sealed) == b"call"
    assert SecretVault(TWO).unseal("hold-1", vault.seal("hold-1", b"call")) == b"call"
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: path.write_bytes(b"half"), id="cut short"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:32]), id="cut to the length of a bare secret"),
        pytest.param(lambda path: path.chmod(0o644), id="open to others"),
        pytest.param(lambda path: path.write_bytes(THREE), id="with another key for hashes"),
        pytest.param(lambda path: (path.unlink(), path.mkdir(0o700)), id="a directory"),
    ],
)
def test_while_the_file_is_wrong_the_last_good_keys_count(tmp_path, harm):
    path = write(tmp_path / "secret.key", single(ONE).rotated(TWO, now=NOON).to_bytes())
    vault = open_vault(path)
    before, hashed = vault.seal("hold-1", b"call"), vault.keyed_hash("x")
    harm(path)
    assert vault.unseal("hold-1", before) == b"call"
    assert vault.is_current(vault.seal("hold-1", b"more"))
    assert vault.keyed_hash("x") == hashed
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    write(path, single(ONE).rotated(TWO, now=NOON).rotated(THREE, now=LATER).to_bytes())
    assert not vault.is_current(before)


def test_a_secret_that_somebody_else_provides_may_be_a_link_and_readable_by_its_group(tmp_path):
    path = write(tmp_path / "mounted", ONE, 0o440)
    (tmp_path / "link").symlink_to(path)
    assert open_vault(tmp_path / "link", mounted=True).keyed_hash("x") == SecretVault(ONE).keyed_hash("x")
    with pytest.raises(Rejected, match="cannot be opened"):
        open_vault(tmp_path / "link")
    for mode in (0o444, 0o460):
        path.chmod(mode)
        with pytest.raises(Rejected, match="closed to others"):
            open_vault(tmp_path / "link", mounted=True)


def test_a_link_is_not_written_through(tmp_path):
    write(tmp_path / "mounted", ONE)
    (tmp_path / "link").symlink_to(tmp_path / "mounted")
    file = RingFile(tmp_path / "link", mounted=True)
    with file.changing() as ring, pytest.raises(Rejected, match="where it comes from"):
        file.write(ring.rotated(TWO, now=NOON))
    assert (tmp_path / "mounted").read_bytes() == ONE


def test_a_directory_is_no_secret(tmp_path):
    with pytest.raises(Rejected, match="must be a file"):
        open_vault(tmp_path)


def test_a_secret_that_must_be_there_is_not_made(tmp_path):
    for how in ({"mounted": True}, {"make": False}):
        with pytest.raises(Rejected, match="copy the secret"):
            open_vault(tmp_path / "secret.key", **how)
    assert list(tmp_path.iterdir()) == []


def test_nothing_shows_a_key():
    ring = single(ONE).rotated(TWO, now=NOON)
    for shown in (repr(ring), repr(ring.keys[0]), repr(SecretVault(Fixed(ring)))):
        assert not any(b64u(secret) in shown or repr(secret) in shown for secret in (ONE, TWO))
