"""Values of JSON as texts: what is not the same stays apart."""

import pytest

from proxy.core.bodies.rules import scalar_text, scalar_values


def test_one_true_and_a_quoted_one_are_three_values() -> None:
    texts = frozenset(scalar_text(value) for value in (1, True, "1"))
    assert len(texts) == 3
    assert [type(value) for value in scalar_values(texts)] == [str, int, bool]


def test_values_come_back_in_the_order_of_their_texts() -> None:
    assert scalar_values(frozenset({"2", "null", '"é"', "10"})) == ["é", 10, 2, None]


@pytest.mark.parametrize(
    "value", [pytest.param(2**53, id="an integer that is not exact"), pytest.param("\ud800", id="half a character")]
)
def test_what_has_no_text_is_refused(value: int | str) -> None:
    with pytest.raises(ValueError, match=r"exact range|surrogates"):
        scalar_text(value)
