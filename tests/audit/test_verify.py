"""Every edit of a sealed journal is found, at its line; every one has the untouched journal as its twin."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path

import journals
import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import key
from journals import NODE_KEY, Desk, as_they_are, crash, fill, rechain, tamper

from proxy.audit.findings import Report, What
from proxy.audit.verify import CHECKPOINTS, verify_journal

LINES = 14  # the start line, twelve decisions, the stop line
SEALED = ((1, 1), (2, 5), (6, 9), (10, 13), (14, 14))  # which lines each checkpoint sealed


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(directory=tmp_path / "journal")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Sealed:
    """One closed chain, as bytes, with its checkpoints."""

    name: str
    lines: tuple[bytes, ...]
    checkpoints: tuple[str, ...]

    def verify(self, directory: Path, lines: Iterable[bytes]) -> Report:
        directory.mkdir(exist_ok=True)
        journals.write(directory / self.name, lines)
        return verify_journal(directory, checkpoints=self.checkpoints, node_keys=[NODE_KEY.public])


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    desk = Desk(directory=tmp_path_factory.mktemp("sealed") / "journal")

    async def write() -> Path:
        journal = await desk.open()
        await fill(journal, LINES - 2)
        await journal.close()
        return desk.path(journal)

    path = asyncio.run(write())
    return Sealed(name=path.name, lines=tuple(journals.read(path)), checkpoints=tuple(desk.sink.kept))


def places(report: Report) -> list[tuple[int, What]]:
    return [(finding.line, finding.what) for finding in report.findings]


def test_a_journal_as_written_verifies_line_by_line(sealed: Sealed, tmp_path: Path) -> None:
    report = sealed.verify(tmp_path / "j", sealed.lines)
    assert report.ok
    (file,) = report.files
    assert (file.lines, file.located_lines, file.bound_lines, file.unsealed_lines) == (LINES, LINES, LINES, 0)
    assert (file.stopped, file.torn_bytes, report.checkpoints, report.unreadable_checkpoints) == (True, 0, 5, 0)


# --- one file, edited ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hashes", [rechain, as_they_are], ids=["every later hash made anew", "hashes left as they were"]
)
@pytest.mark.parametrize(
    ("edit", "line", "what"),
    [
        pytest.param(journals.change(7), 7, What.CHANGED, id="a line changed"),
        pytest.param(journals.change(2), 2, What.CHANGED, id="the first decision changed"),
        pytest.param(journals.change(13), 13, What.CHANGED, id="the last decision changed"),
        pytest.param(journals.remove(7), 7, What.REMOVED, id="a line removed"),
        pytest.param(journals.remove(2), 2, What.REMOVED, id="the first decision removed"),
        pytest.param(journals.insert(7), 7, What.INSERTED, id="a line invented"),
        pytest.param(journals.repeat(3, at=7), 7, What.INSERTED, id="an older line repeated"),
        pytest.param(journals.repeat(9, at=4), 4, What.REORDERED, id="a later line repeated before its place"),
        pytest.param(journals.swap(4, 5), 4, What.REORDERED, id="two neighbours swapped"),
        pytest.param(journals.swap(3, 11), 3, What.REORDERED, id="two distant lines swapped"),
        pytest.param(journals.cut(14), 14, What.CUT, id="the last line cut"),
        pytest.param(journals.cut(10), 10, What.CUT, id="the tail cut to a checkpoint"),
        pytest.param(journals.cut(8), 8, What.CUT, id="the tail cut to between two checkpoints"),
        pytest.param(journals.cut(2), 2, What.CUT, id="everything but the start line cut"),
        pytest.param(journals.cut(1), 1, What.CUT, id="the file emptied"),
    ],
)
def test_an_edit_is_named_at_its_line(
    sealed: Sealed,
    tmp_path: Path,
    edit: journals.Edit,
    line: int,
    what: What,
    hashes: Callable[[Iterable[bytes]], list[bytes]],
) -> None:
    assert sealed.verify(tmp_path / "twin", sealed.lines).ok
    lines = list(sealed.lines)
    edit(lines)
    report = sealed.verify(tmp_path / "edited", hashes(lines))
    first = report.findings[0]
    assert (first.file, first.line, first.what, first.last_line) == (sealed.name, line, what, 0)


def test_several_edits_are_each_named(sealed: Sealed, tmp_path: Path) -> None:
    lines = list(sealed.lines)
    for edit in (journals.change(3), journals.remove(6), journals.insert(9), journals.change(12)):
        edit(lines)
    report = sealed.verify(tmp_path / "j", rechain(lines))
    assert places(report) == [(3, What.CHANGED), (6, What.REMOVED), (9, What.INSERTED), (12, What.CHANGED)]
    assert [finding.seq for finding in report.findings] == [3, 6, 10, 12]


def test_a_line_only_renumbered_is_found(sealed: Sealed, tmp_path: Path) -> None:
    lines = list(sealed.lines)
    lines[5] = lines[5].replace(b'"seq":6,', b'"seq":8,')
    assert places(sealed.verify(tmp_path / "j", lines)) == [(6, What.CHANGED)]


def test_a_line_only_linked_elsewhere_is_found(sealed: Sealed, tmp_path: Path) -> None:
    lines = list(sealed.lines)
    lines[5] = lines[5].replace(b'"prev":"', b'"prev":"AAAA', 1)[: len(lines[5])]
    assert places(sealed.verify(tmp_path / "j", lines))[0] == (6, What.CHANGED)
    lines[5] = sealed.lines[5].replace(sealed.lines[5][16:24], b"AAAAAAAA")
    assert places(sealed.verify(tmp_path / "k", lines)) == [(6, What.CHANGED)]


def test_a_line_added_after_the_stop_line_is_found(sealed: Sealed, tmp_path: Path) -> None:
    lines = rechain([*sealed.lines, sealed.lines[4]])
    assert places(sealed.verify(tmp_path / "j", lines)) == [(LINES + 1, What.INSERTED)]


_MUTATIONS = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 10**6), st.integers(0, 7)),
    st.tuples(st.just("remove"), st.integers(0, LINES - 1), st.booleans()),
    st.tuples(st.just("repeat"), st.integers(0, LINES - 1), st.integers(0, LINES)),
    st.tuples(st.just("swap"), st.integers(0, LINES - 1), st.integers(0, LINES - 1)),
    st.tuples(st.just("cut"), st.integers(0, 10**6), st.booleans()),
    st.tuples(st.just("insert byte"), st.integers(0, 10**6), st.integers(0, 255)),
)


@given(mutation=_MUTATIONS, anew=st.booleans())
def test_any_single_mutation_is_found_at_its_line(
    sealed: Sealed, tmp_path_factory: pytest.TempPathFactory, mutation: tuple[str, int, int], anew: bool
) -> None:
    whole = b"".join(line + b"\n" for line in sealed.lines)
    kind, where, how = mutation
    lines = list(sealed.lines)
    match kind:
        case "flip":
            where %= len(whole)
            mutated = whole[:where] + bytes([whole[where] ^ 1 << how]) + whole[where + 1 :]
        case "insert byte":
            where %= len(whole)
            mutated = whole[:where] + bytes([how]) + whole[where:]
        case "cut":
            mutated = whole[: where % len(whole)]
        case _:
            if kind == "remove":
                del lines[where]
            elif kind == "repeat":
                lines.insert(how, lines[where])
            else:
                lines[where], lines[how] = lines[how], lines[where]
            lines = rechain(lines) if anew else lines
            mutated = b"".join(line + b"\n" for line in lines)
    directory = tmp_path_factory.mktemp("m")
    (directory / sealed.name).write_bytes(mutated)
    report = verify_journal(directory, checkpoints=sealed.checkpoints, node_keys=[NODE_KEY.public])
    if mutated == whole:
        assert report.ok
        return
    pairs = enumerate(zip(whole.splitlines(keepends=True), mutated.split(b"\n"), strict=False), 1)
    differing = (number for number, (was, stands) in pairs if was != stands + b"\n")
    line = next(differing, len(mutated.splitlines()))  # the last line lost its newline, or another came after it
    assert not report.ok
    assert report.findings[0].line == line


@given(
    edit=st.one_of(
        st.builds(journals.change, st.integers(2, LINES - 1)),
        st.builds(journals.remove, st.integers(1, LINES)),
        st.builds(journals.insert, st.integers(2, LINES - 1)),
        st.builds(lambda line, at: journals.repeat(line, at=at), st.integers(1, LINES), st.integers(1, LINES)),
        st.builds(journals.swap, st.integers(1, LINES), st.integers(1, LINES)),
    ),
    anew=st.booleans(),
    lost=st.sets(st.integers(0, 3)),
)
def test_with_checkpoints_lost_any_edit_is_still_noticed_and_placed(
    sealed: Sealed, tmp_path_factory: pytest.TempPathFactory, edit: journals.Edit, anew: bool, lost: set[int]
) -> None:
    kept = [token for place, token in enumerate(sealed.checkpoints) if place not in lost]  # the last one always
    lines = list(sealed.lines)
    edit(lines)
    directory = tmp_path_factory.mktemp("m")
    journals.write(directory / sealed.name, rechain(lines) if anew else lines)
    report = verify_journal(directory, checkpoints=kept, node_keys=[NODE_KEY.public])
    if lines == list(sealed.lines):
        assert report.ok
        return
    pairs = enumerate(zip_longest(sealed.lines, lines), 1)
    wrong = [number for number, (was, stands) in pairs if was != stands]
    first = report.findings[0]
    named = range(first.line, (first.last_line or first.line) + 1)
    unmarked = {
        number for place, (begin, end) in enumerate(SEALED) if place in lost for number in range(begin, end + 1)
    }
    assert wrong[0] in named or (wrong[0] in unmarked and not set(named).isdisjoint(wrong)), report.findings


# --- the first line --------------------------------------------------------------------------------------------------


async def test_a_start_line_changed_is_a_bad_signature(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 3)
    await journal.close()
    assert desk.verify().ok

    def edit(lines: list[bytes]) -> None:
        lines[0] = lines[0].replace(b'"signed":true', b'"signed":false')

    tamper(desk.path(journal), edit)
    assert places(desk.verify()) == [(1, What.BAD_SIGNATURE)]
    assert places(desk.verify([])) == [(1, What.BAD_SIGNATURE)]


async def test_a_start_line_by_another_key_is_foreign(desk: Desk, tmp_path: Path) -> None:
    journal = await desk.open()
    await fill(journal, 3)
    await journal.close()
    other = Desk(directory=tmp_path / "other")
    forged = await other.open(signer=key("intruder"))
    await forged.close()

    def edit(lines: list[bytes]) -> None:
        lines[0] = journals.read(other.path(forged))[0]

    tamper(desk.path(journal), edit)
    assert places(desk.verify()) == [(1, What.FOREIGN)]


async def test_a_start_line_that_is_no_start_line_is_found(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 3)
    await journal.close()
    tamper(desk.path(journal), journals.remove(1))
    assert places(desk.verify())[0] == (1, What.CHANGED)


async def test_a_genuine_chain_under_another_name_is_foreign_and_missing(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 3)
    await journal.close()
    path = desk.path(journal)
    renamed = path.with_name(path.name.replace("edge-1-0", "edge-1-7"))
    path.rename(renamed)
    found = {(finding.file, finding.what) for finding in desk.verify().findings}
    assert (renamed.name, What.FOREIGN) in found
    assert (path.name, What.MISSING_FILE) in found


async def test_a_file_that_is_no_journal_file_is_foreign(desk: Desk) -> None:
    await (await desk.open()).close()
    assert desk.verify().ok  # the lock file is no finding
    (desk.directory / "notes.jsonl").write_text("{}\n")
    assert [(f.file, f.line, f.what) for f in desk.verify().findings] == [("notes.jsonl", 0, What.FOREIGN)]


# --- several chains --------------------------------------------------------------------------------------------------


async def three_chains(desk: Desk) -> list[Path]:
    """Two that crashed with unsealed lines, and one that was closed."""
    paths: list[Path] = []
    for number in range(3):
        journal = await desk.open()
        await fill(journal, 6)  # the last two unsealed
        paths.append(desk.path(journal))
        await (journal.close() if number == 2 else crash(journal))
    return paths


async def test_chains_of_a_slot_follow_each_other(desk: Desk) -> None:
    await three_chains(desk)
    other = await desk.open(worker=1)
    await other.close()
    report = desk.verify()
    assert report.ok
    assert [file.unsealed_lines for file in report.files] == [0, 0, 0, 0]
    assert [file.stopped for file in report.files] == [False, False, True, True]
    assert sum(file.located_lines for file in report.files) == sum(file.lines for file in report.files)


@pytest.mark.parametrize("gone", [0, 1, 2], ids=["the oldest file", "one in the middle", "the newest file"])
async def test_a_removed_file_is_missing(desk: Desk, gone: int) -> None:
    paths = await three_chains(desk)
    paths[gone].unlink()
    report = desk.verify()
    assert [(f.file, f.line, f.what) for f in report.findings] == [(paths[gone].name, 0, What.MISSING_FILE)]


@pytest.mark.parametrize("gone", [0, 1], ids=["the oldest file", "one in the middle"])
async def test_a_removed_file_is_missing_also_without_checkpoints(desk: Desk, gone: int) -> None:
    paths = await three_chains(desk)
    paths[gone].unlink()
    findings = desk.verify([]).findings
    assert (paths[gone].name, What.MISSING_FILE) in [(finding.file, finding.what) for finding in findings]


async def test_an_unsealed_tail_is_bound_by_the_next_chain(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 6)
    await crash(journal)
    sealed_before = list(desk.sink.kept)
    assert desk.verify().ok
    assert desk.verify().files[0].unsealed_lines == 2
    await (await desk.open()).close()
    report = desk.verify(sealed_before)  # without what the next chain sealed again
    assert (report.files[0].unsealed_lines, report.files[0].located_lines) == (0, 5)
    tamper(desk.path(journal), journals.change(6))
    (finding,) = [f for f in desk.verify(sealed_before).findings if f.file == journal.file]
    assert (finding.line, finding.last_line, finding.what) == (6, 7, What.CHANGED)  # noticed, and placed in the tail
    (finding,) = [f for f in desk.verify().findings if f.file == journal.file]
    assert (finding.line, finding.last_line, finding.what) == (6, 0, What.CHANGED)  # sealed again: named


async def test_a_tail_cut_after_the_restart_is_found_without_checkpoints(desk: Desk) -> None:
    paths = await three_chains(desk)
    tamper(paths[0], journals.cut(6))
    found = [(f.file, f.line, f.what) for f in desk.verify([]).findings]
    assert (paths[0].name, 6, What.CUT) in found


async def test_a_tail_cut_between_crash_and_restart_is_found(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 8)
    await crash(journal)
    tamper(desk.path(journal), journals.cut(7))
    await (await desk.open()).close()
    assert [(f.file, f.line, f.what) for f in desk.verify().findings] == [(journal.file, 7, What.CUT)]


async def test_a_tail_rewritten_between_crash_and_restart_is_found(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 8)
    await crash(journal)
    tamper(desk.path(journal), journals.change(7))
    await (await desk.open()).close()  # seals what it finds, and so contradicts the checkpoint of the crashed chain
    found = {(f.file, f.line, f.what) for f in desk.verify().findings}
    assert found >= {(journal.file, 7, What.CHANGED), (journal.file, 7, What.CONTRADICTION)}


async def test_lines_added_to_a_chain_that_has_ended_are_found(desk: Desk) -> None:
    paths = await three_chains(desk)
    with paths[0].open("ab") as file:
        file.write(b'{"half a line')
    (finding,) = desk.verify().findings
    assert (finding.file, finding.line, finding.what) == (paths[0].name, 8, What.INSERTED)


async def test_what_a_crash_tore_is_no_finding_once_the_next_chain_has_said_so(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 4)
    await crash(journal)
    with desk.path(journal).open("ab") as file:
        file.write(b"\0\0\0\n\0" + b'{"seq":6,"prev":"')
    await (await desk.open()).close()
    report = desk.verify()
    assert report.ok
    assert (report.files[0].lines, report.files[0].torn_bytes) == (5, 22)


async def test_a_chain_hidden_while_the_next_one_started_is_a_gap(desk: Desk, tmp_path: Path) -> None:
    first = await desk.open()
    await first.close()
    hidden = tmp_path / "hidden"
    desk.path(first).rename(hidden)
    second = await desk.open()
    await second.close()
    hidden.rename(desk.path(first))
    assert [(f.file, f.line, f.what) for f in desk.verify().findings] == [(second.file, 1, What.GAP)]


async def test_an_empty_file_left_by_a_crash_at_birth_is_accounted_for(desk: Desk) -> None:
    first = await desk.open()
    await first.close()
    desk.clock.now += timedelta(seconds=1)
    empty = desk.directory / f"edge-1-0-{desk.clock.now:%Y%m%dT%H%M%S%f}Z00000000.jsonl"
    empty.touch(0o600)
    assert [(f.file, f.what) for f in desk.verify().findings] == [(empty.name, What.UNSEALED)]
    await (await desk.open()).close()
    assert desk.verify().ok


# --- checkpoints -----------------------------------------------------------------------------------------------------


async def test_without_any_checkpoint_it_says_that_nothing_vouches_for_the_last_chain(desk: Desk) -> None:
    paths = await three_chains(desk)
    report = desk.verify([])
    assert [(f.file, f.line, f.what) for f in report.findings] == [(paths[2].name, 1, What.UNSEALED)]
    assert [file.unsealed_lines for file in report.files] == [0, 0, 8]
    assert [file.located_lines for file in report.files] == [0, 0, 0]


async def test_checkpoints_cut_from_one_sink_are_made_up_for_by_the_other(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 12)
    await journal.close()
    tamper(desk.path(journal), journals.cut(10))
    cut_sink = desk.sink.kept[:3]
    assert desk.verify(cut_sink).ok  # cut on both sides to the same line: from this sink alone nobody can tell
    assert places(desk.verify([*cut_sink, *desk.sink.kept])) == [(10, What.CUT)]


async def test_checkpoints_cut_while_the_lines_stayed_are_missed(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 4)
    desk.clock.now += timedelta(seconds=30)
    await fill(journal, 4)
    desk.clock.now += timedelta(seconds=30)
    await fill(journal, 4)
    await journal.close()
    assert desk.verify().ok
    (finding,) = desk.verify(desk.sink.kept[:2]).findings
    assert (finding.line, finding.last_line, finding.what) == (6, LINES, What.UNSEALED)


async def test_between_two_checkpoints_with_one_missing_a_change_is_noticed_and_placed(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 12)
    await journal.close()
    thinned = [token for place, token in enumerate(desk.sink.kept) if place != 2]  # lines 6 to 9 lost their marks
    assert desk.verify(thinned).ok
    assert desk.verify(thinned).files[0].located_lines == LINES - 4
    original = journals.read(desk.path(journal))
    for edit, what in (
        (journals.change(7), What.CHANGED),
        (journals.remove(7), What.REMOVED),
        (journals.insert(7), What.INSERTED),
    ):
        journals.write(desk.path(journal), original)
        tamper(desk.path(journal), edit)
        finding = desk.verify(thinned).findings[0]
        assert (finding.what, finding.line <= 7 <= finding.last_line) == (what, True), finding
        journals.write(desk.path(journal), original)
        tamper(desk.path(journal), edit, hashes=as_they_are)
        finding = desk.verify(thinned).findings[0]
        assert (finding.what, finding.line, finding.last_line) == (what, 7, 0), finding


async def test_two_lines_swapped_where_a_checkpoint_is_missing_are_found(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 12)
    await journal.close()
    thinned = [token for place, token in enumerate(desk.sink.kept) if place != 2]
    original = journals.read(desk.path(journal))
    tamper(desk.path(journal), journals.swap(7, 8), hashes=as_they_are)
    assert places(desk.verify(thinned)) == [(7, What.REORDERED)]
    journals.write(desk.path(journal), original)
    tamper(desk.path(journal), journals.swap(7, 8))
    (finding,) = desk.verify(thinned).findings
    assert (finding.line, finding.last_line, finding.what) == (6, 9, What.CHANGED)


async def test_a_changed_checkpoint_is_a_bad_signature(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 4)
    await journal.close()
    head, _, signature = desk.sink.kept[1].split(".")
    _, other, _ = desk.sink.kept[0].split(".")
    report = desk.verify([*desk.sink.kept, f"{head}.{other}.{signature}"])
    assert [(f.file, f.line, f.what) for f in report.findings] == [(CHECKPOINTS, 4, What.BAD_SIGNATURE)]


async def test_a_checkpoint_by_another_key_is_foreign(desk: Desk, tmp_path: Path) -> None:
    await (await desk.open()).close()
    other = Desk(directory=tmp_path / "other")
    await (await other.open(signer=key("intruder"))).close()
    report = desk.verify([*desk.sink.kept, *other.sink.kept])
    assert {(f.file, f.what) for f in report.findings} == {(CHECKPOINTS, What.FOREIGN)}


async def test_one_node_cannot_seal_for_another(desk: Desk, tmp_path: Path) -> None:
    await (await desk.open()).close()
    other = Desk(directory=tmp_path / "other")  # the same node name and slot, signed with another enrolled node's key
    await (await other.open(signer=key("node-2"))).close()
    report = desk.verify([*desk.sink.kept, *other.sink.kept], keys=[NODE_KEY, key("node-2")])
    assert {(f.file, f.what) for f in report.findings} == {(CHECKPOINTS, What.FOREIGN)}


@pytest.mark.parametrize("text", ["", "eyJ", "a.b.c", '"torn', "\ud800", "{}"], ids=ascii)
async def test_what_is_no_checkpoint_is_counted_and_ignored(desk: Desk, text: str) -> None:
    await (await desk.open()).close()
    report = desk.verify([*desk.sink.kept, text])
    assert (report.ok, report.unreadable_checkpoints) == (True, 1)


async def test_a_node_that_changed_its_key_still_verifies(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 6)
    await crash(journal)
    await (await desk.open(signer=key("node, renewed"))).close()
    assert desk.verify(keys=[NODE_KEY, key("node, renewed")]).ok
    assert not desk.verify().ok


async def test_a_journal_in_use_verifies(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 6)
    report = desk.verify()
    assert (report.ok, report.files[0].unsealed_lines) == (True, 2)
    await journal.close()
