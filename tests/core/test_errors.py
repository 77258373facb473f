"""The two families of errors, and the codes everything else shares."""

import re

from proxy.core.errors import Code, Rejected, Unavailable


def test_codes_are_unique_and_dotted() -> None:
    values = [code.value for code in Code]
    assert len(values) == len(set(values))
    assert all(re.fullmatch(r"[a-z]+(\.[a-z_]+)?", value) for value in values)


def test_a_rejection_says_code_field_and_detail() -> None:
    refused = Rejected(Code.PROOF_KEY, "signed with key a, expected b", field="keyid")
    assert repr(refused) == "Rejected(proof.key, keyid: signed with key a, expected b)"
    assert str(refused) == "signed with key a, expected b"
    assert repr(Rejected(Code.PROOF_KEY, "x")) == "Rejected(proof.key, -: x)"


def test_an_unavailability_says_when_to_come_back() -> None:
    down = Unavailable(Code.STORE_DOWN, "no answer in 2 s", retry_after_s=5)
    assert (repr(down), down.retry_after_s) == ("Unavailable(service.store: no answer in 2 s)", 5)
    assert Unavailable(Code.STORE_DOWN, "x").retry_after_s == 2
    assert not isinstance(down, Rejected)
