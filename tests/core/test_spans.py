import pytest

from proxy.core.spans import span


@pytest.mark.parametrize(
    ("length_s", "text"),
    [
        pytest.param(0, "0 s", id="nothing"),
        pytest.param(-5, "0 s", id="less than nothing"),
        pytest.param(59, "59 s", id="seconds"),
        pytest.param(14_400, "4 h", id="hours without a rest"),
        pytest.param(90_061, "1 d 1 h 1 min 1 s", id="every unit"),
    ],
)
def test_a_length_is_exact(length_s: int, text: str) -> None:
    assert span(length_s) == text


def test_a_length_in_few_parts_leaves_the_rest_out() -> None:
    assert (span(90_061, parts=2), span(86_401, parts=2)) == ("1 d 1 h", "1 d 1 s")
