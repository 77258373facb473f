"""The verbs of a change."""

import pytest

from proxy.core.compare import ceiling, floor, required, sets, values


def test_things_permitted_one_by_one() -> None:
    assert list(sets("port", ["1", "2"], ["2", "3"])) == ["adds port 3", "removes port 1"]
    assert list(sets("port", ["1", "2"], ["2", "1"])) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        pytest.param(None, None, None, id="any and any"),
        pytest.param(frozenset("a"), None, "loosens it from a to any value", id="any now"),
        pytest.param(None, frozenset(), "tightens it from any value to no value", id="none now"),
        pytest.param(frozenset("a"), frozenset("ab"), "loosens it from a to a, b", id="one more"),
        pytest.param(frozenset("ab"), frozenset("a"), "tightens it from a, b to a", id="one fewer"),
        pytest.param(frozenset("a"), frozenset({""}), 'changes it from a to ""', id="another"),
    ],
)
def test_permitted_values(old: frozenset[str] | None, new: frozenset[str] | None, line: str | None) -> None:
    assert list(values("it", old, new)) == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("old", "new", "most", "least"),
    [
        pytest.param(1, 1, None, None, id="the same"),
        pytest.param(1, 2, "loosens", "tightens", id="more"),
        pytest.param(2, 1, "tightens", "loosens", id="less"),
        pytest.param(None, 1, "tightens", "tightens", id="a limit"),
        pytest.param(1, None, "loosens", "loosens", id="no limit"),
    ],
)
def test_bounds(old: int | None, new: int | None, most: str | None, least: str | None) -> None:
    assert [line.split()[0] for line in ceiling("it", old, new)] == ([] if most is None else [most])
    assert [line.split()[0] for line in floor("it", old, new)] == ([] if least is None else [least])


def test_bounds_are_told() -> None:
    assert list(ceiling("it", None, 5)) == ["tightens it from no limit to 5"]
    assert list(floor("it", 5, None)) == ["loosens it from 5 to no limit"]


def test_what_must_be_there() -> None:
    assert list(required("it", False, True)) == ["tightens it to required"]
    assert list(required("it", True, False)) == ["loosens it to optional"]
    assert list(required("it", True, True)) == []
