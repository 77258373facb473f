"""What the deployment's secret protects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.encoding import b64u
from proxy.core.errors import Code, Rejected
from proxy.stores.vault import SecretVault, open_vault

SECRET = bytes(range(32))
VAULT, OTHER = SecretVault(SECRET), SecretVault(bytes(32))


# --- the secret file -------------------------------------------------------------------------------------------------


def test_the_secret_is_made_once_and_kept_private(tmp_path):
    path = tmp_path / "secret.key"
    first = open_vault(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    assert open_vault(path).unseal("h", first.seal("h", b"call")) == b"call"


def test_a_secret_others_may_read_is_refused(tmp_path):
    path = tmp_path / "secret.key"
    open_vault(path)
    path.chmod(0o640)
    with pytest.raises(Rejected, match="chmod 600") as caught:
        open_vault(path)
    assert caught.value.code is Code.CONFIG_INVALID


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_secret_of_another_length_is_refused(tmp_path, length):
    path = tmp_path / "secret.key"
    path.write_bytes(bytes(length))
    path.chmod(0o600)
    with pytest.raises(Rejected, match=f"got {length}") as caught:
        open_vault(path)
    assert caught.value.code is Code.CONFIG_INVALID


def test_the_secret_is_not_shown():
    assert b64u(SECRET) not in repr(VAULT)
    assert SECRET.hex() not in repr(VAULT)


# --- holds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plaintext", [b"", b"call", bytes(100_000)], ids=["nothing", "a call", "a large call"])
def test_a_sealed_call_is_read_again(plaintext):
    sealed = VAULT.seal("hold-1", plaintext)
    assert VAULT.unseal("hold-1", sealed) == plaintext
    assert SecretVault(SECRET).unseal("hold-1", sealed) == plaintext


def test_equal_calls_are_sealed_differently():
    assert VAULT.seal("hold-1", b"call") != VAULT.seal("hold-1", b"call")


def test_a_call_sealed_for_another_hold_or_under_another_secret_is_refused():
    sealed = VAULT.seal("hold-1", b"call")
    for vault, hold_id in ((VAULT, "hold-2"), (VAULT, ""), (OTHER, "hold-1")):
        with pytest.raises(Rejected) as caught:
            vault.unseal(hold_id, sealed)
        assert caught.value.code is Code.HOLD_TAMPERED


def test_a_data_key_does_not_open_another_call_of_the_same_hold():
    one, two = VAULT.seal("hold-1", b"call"), VAULT.seal("hold-1", b"CALL")
    head_and_key = 9 + 60
    with pytest.raises(Rejected):
        VAULT.unseal("hold-1", one[:head_and_key] + two[head_and_key:])
    assert VAULT.unseal("hold-1", one[:head_and_key] + one[head_and_key:]) == b"call"


def test_any_changed_bit_of_a_sealed_call_is_noticed():
    sealed = VAULT.seal("hold-1", b"call")
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Rejected) as caught:
            VAULT.unseal("hold-1", bytes(changed))
        assert caught.value.code is Code.HOLD_TAMPERED


def test_a_sealed_call_cut_short_or_lengthened_is_refused():
    sealed = VAULT.seal("hold-1", b"call")
    for part in (*(sealed[:length] for length in range(len(sealed))), sealed + b"\x00"):
        with pytest.raises(Rejected) as caught:
            VAULT.unseal("hold-1", part)
        assert caught.value.code is Code.HOLD_TAMPERED


@given(st.binary(max_size=200))
def test_unsealing_anything_raises_nothing_but_rejected(sealed):
    head = VAULT.seal("hold-1", b"")[:9]
    for candidate in (sealed, head + sealed):
        with pytest.raises(Rejected):
            VAULT.unseal("hold-1", candidate)


# --- keyed hashes and sessions ---------------------------------------------------------------------------------------


@given(st.text(st.characters()), st.text(st.characters()))
def test_keyed_hashes_are_equal_for_equal_values_only(one, two):
    assert (VAULT.keyed_hash(one) == VAULT.keyed_hash(two)) is (one == two)
    assert VAULT.keyed_hash(one) != OTHER.keyed_hash(one)
    assert len(VAULT.keyed_hash(one)) == 43


def test_a_session_token_is_opened_again():
    token = VAULT.seal_session(b"session")
    assert VAULT.unseal_session(token) == b"session"
    assert VAULT.seal_session(b"session") != token
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_session_token_of_another_deployment_or_changed_anywhere_is_refused():
    token = VAULT.seal_session(b"session")
    changed = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token))]
    for candidate in (OTHER.seal_session(b"session"), token[:-1], token + "A", "", "=", *changed):
        with pytest.raises(Rejected) as caught:
            VAULT.unseal_session(candidate)
        assert caught.value.code is Code.PROOF_SESSION


def test_a_sealed_call_is_no_session():
    with pytest.raises(Rejected):
        VAULT.unseal_session(b64u(VAULT.seal("hold-1", b"call")))


@given(st.text(max_size=200))
def test_opening_any_session_token_raises_nothing_but_rejected(token):
    with pytest.raises(Rejected):
        VAULT.unseal_session(token)
