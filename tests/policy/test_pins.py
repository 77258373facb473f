"""Pinned clusters: kept by digest, and noticed when they are not what their name says."""

from dataclasses import replace
from pathlib import Path

import pytest
from identities import cluster

from proxy.core.clusters import cluster_digest
from proxy.core.errors import Rejected
from proxy.core.model import Cluster
from proxy.policy.pins import read_pins, write_pins


def with_port(port: int) -> Cluster:
    changed = replace(cluster(), ports=frozenset({port}))
    return replace(changed, digest=cluster_digest(changed))


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "pinned"


def test_what_is_written_is_read_again_and_old_versions_stay(pinned: Path) -> None:
    old, new = with_port(443), with_port(8443)
    write_pins(pinned, {"c": old})
    write_pins(pinned, {"c": new})
    pins = read_pins(pinned)
    assert pins.faults == ()
    assert {digest: found.ports for digest, found in pins.clusters.items()} == {
        old.digest: frozenset({443}),
        new.digest: frozenset({8443}),
    }
    assert all(found.digest == digest for digest, found in pins.clusters.items())


def test_an_absent_directory_holds_nothing(pinned: Path) -> None:
    pins = read_pins(pinned)
    assert (pins.clusters, pins.faults) == ({}, ())


def test_writing_again_touches_nothing_and_mends_what_was_changed(pinned: Path) -> None:
    one = with_port(443)
    write_pins(pinned, {"c": one})
    (path,) = pinned.iterdir()
    before = path.stat().st_ino
    write_pins(pinned, {"c": one})
    assert path.stat().st_ino == before
    path.write_bytes(b"{}")
    write_pins(pinned, {"c": one})
    assert read_pins(pinned).clusters.keys() == {one.digest}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        pytest.param(
            '"ports":[443]', '"ports":[443,8443]', "it was changed: its content has the digest ", id="widened"
        ),
        pytest.param('"ports"', '"port"', "a pinned cluster must have exactly the members", id="another member"),
        pytest.param("{", "", "a pinned cluster must be strict JSON", id="cut"),
        pytest.param('{"addresses":[],', '{"addresses":[],"addresses":[],', "appears twice", id="a member twice"),
    ],
)
def test_a_changed_pin_is_left_out_and_reported_with_its_file(pinned: Path, old: str, new: str, fault: str) -> None:
    good, bad = with_port(443), with_port(444)
    write_pins(pinned, {"good": good, "bad": bad})
    path = pinned / f"{bad.digest}.json"
    path.write_text(path.read_text().replace("444", "443").replace(old, new, 1))
    pins = read_pins(pinned)
    assert pins.clusters.keys() == {good.digest}
    (told,) = pins.faults
    assert told.startswith(f"{path}: ")
    assert fault in told
    assert told.endswith("put the original back, or remove it: then calls under mandates that name it are held")


def test_a_file_of_another_name_is_reported_and_a_hidden_one_is_not(pinned: Path) -> None:
    one = with_port(443)
    write_pins(pinned, {"c": one})
    (pinned / f"{one.digest}.json").rename(pinned / "mine.json")
    (pinned / ".tmp").write_bytes(b"")
    pins = read_pins(pinned)
    assert pins.clusters == {}
    (told,) = pins.faults
    assert told.startswith(f"{pinned / 'mine.json'}: it was changed: its content has the digest {one.digest}; ")


def test_a_directory_others_may_write_is_refused(pinned: Path) -> None:
    pinned.mkdir()
    pinned.chmod(0o777)
    with pytest.raises(Rejected, match="group or others may write to it; run: chmod go-w"):
        read_pins(pinned)
    with pytest.raises(Rejected, match="group or others may write to it; run: chmod go-w"):
        write_pins(pinned, {})


def test_a_directory_that_cannot_be_made_is_refused(pinned: Path) -> None:
    with pytest.raises(Rejected, match="cannot be made: No such file or directory"):
        write_pins(pinned / "none" / "pinned", {})
