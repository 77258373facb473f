"""How faults are told: in order, each once, not too many, and harmless on a terminal."""

import pytest

from proxy.core.errors import Code, Rejected
from proxy.policy.faults import MAX_SHOWN, Faults, instead, nearest, refuse_any, shown


def test_faults_are_told_in_the_order_of_the_file_each_once() -> None:
    faults = Faults("f.yaml")
    faults.add(3, "late")
    faults.add(0, "whole")
    faults.add(1, "early")
    faults.add(3, "late")
    with pytest.raises(Rejected) as refused:
        refuse_any(Faults("empty.yaml"), faults)
    assert refused.value.code is Code.CONFIG_INVALID
    assert refused.value.detail == "f.yaml: whole\nf.yaml:1: early\nf.yaml:3: late"


def test_no_faults_are_no_refusal() -> None:
    refuse_any(Faults("a.yaml"), Faults("b.yaml"))


def test_of_very_many_only_the_number_is_told() -> None:
    faults = Faults("f.yaml")
    for line in range(1, MAX_SHOWN + 3):
        faults.add(line, "bad")
    with pytest.raises(Rejected) as refused:
        refuse_any(faults)
    lines = refused.value.detail.splitlines()
    assert (len(lines), lines[-1]) == (MAX_SHOWN + 1, "and 2 more")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        pytest.param("plain", '"plain"', id="plain text"),
        pytest.param('a "b" \\', '"a \\"b\\" \\\\"', id="quotes and backslashes"),
        pytest.param("Jürgen 李", '"Jürgen 李"', id="letters of all languages"),
        pytest.param("\x1b]0;x\x07", '"\\u001b]0;x\\u0007"', id="a terminal escape"),
        pytest.param("a\u202eb", '"a\\u202eb"', id="a character that turns the text around"),
        pytest.param("a\nb", '"a\\nb"', id="a line break"),
        pytest.param("x" * 81, '"' + "x" * 79 + '…"', id="more than fits"),
        pytest.param("x" * 80, '"' + "x" * 80 + '"', id="as much as fits"),
    ],
)
def test_what_was_written_is_shown_in_quotes(text: str, quoted: str) -> None:
    assert shown(text) == quoted


def test_the_nearest_name_is_offered_or_the_few_there_are() -> None:
    assert nearest("host", ["hosts", "ports"]) == "hosts"
    assert instead("host", ["hosts", "ports"]) == '; did you mean "hosts"?'
    assert instead("zzz", ["hosts", "ports"]) == "; expected one of hosts, ports"
    assert instead("zzz", []) == ""
    assert instead("zzz", [f"name{number}" for number in range(100)]) == ""
