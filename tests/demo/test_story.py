"""`intent-proxy demo`: every claim of the story, recomputed from what the server received and from nobody's word."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from clones import environment, processes_of, temporary

DEMO = (sys.executable, "-m", "proxy.cli.main", "demo")
OURS = {"agent-intent", "intent-manifest", "signature", "signature-input", "proxy-authorization", "proxy-connection"}
WITHOUT = 3  # calls of the first chapter, which go to the server directly


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it lies in the server's log."""

    connection: int
    line: str
    headers: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Played:
    """One whole run without a terminal."""

    done: "subprocess.CompletedProcess[str]"
    kept: Path
    temporary: Path

    @property
    def steps(self) -> list[dict]:
        return json.loads((self.kept / "story.json").read_text())

    @property
    def log(self) -> list[dict]:
        return [json.loads(line) for line in (self.kept / "origin.jsonl").read_text().splitlines()]

    @property
    def journal(self) -> list[dict]:
        lines = [line for path in (self.kept / "journal").iterdir() for line in path.read_text().splitlines()]
        return sorted(map(json.loads, lines), key=lambda line: line["at"])

    def calls(self) -> list[dict]:
        """The steps in which the agent called the server, or tried to."""
        return [step for step in self.steps if "requests" in step["expected"]]

    def received(self) -> list[Request]:
        """Every request in the server's log, in order. Bytes that are no whole request are a failure."""
        found, pending = [], Counter[int]()
        texts: dict[int, str] = {}
        for entry in self.log:
            if entry["event"] == "opened":
                continue
            number = entry["connection"]
            texts[number] = texts.get(number, "") + entry["bytes"]
            pending[number] += len(entry["bytes"])
            while "\r\n\r\n" in texts[number]:
                head, _, texts[number] = texts[number].partition("\r\n\r\n")
                line, *fields = head.split("\r\n")
                headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
                found.append(Request(connection=number, line=line.removesuffix(" HTTP/1.1"), headers=headers))
        assert not any(texts.values()), texts
        return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    kept = tmp_path_factory.mktemp("demo") / "kept"
    with temporary() as folder:
        done = subprocess.run(
            [*DEMO, "--keep", str(kept)],
            env=environment(TMPDIR=str(folder)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        yield Played(done=done, kept=kept, temporary=folder)


def test_it_ends_well_and_every_step_saw_what_was_expected(played: Played) -> None:
    assert played.done.returncode == 0, played.done.stdout + played.done.stderr
    assert [step["step"] for step in played.steps] == list(range(1, len(played.steps) + 1))
    assert [step for step in played.steps if step["expected"] != step["seen"]] == []
    assert f"All {len(played.steps)} steps did what they claim." in played.done.stdout


def test_the_server_received_the_requests_of_the_story_and_no_other_byte(played: Played) -> None:
    told = [request for step in played.calls() for request in step["expected"]["requests"]]
    assert [request.line for request in played.received()] == told
    opened = [entry for entry in played.log if entry["event"] == "opened"]
    assert len(opened) == sum(step["expected"]["connections"] for step in played.calls())


def test_the_pivot_reached_the_server_twice_unasked_and_released(played: Played) -> None:
    places = [place for place, request in enumerate(played.received()) if request.line == "GET /v1/payroll/88"]
    assert places == [WITHOUT - 1, WITHOUT + 2], "the last of the direct calls, and the one call that was released"
    tried = [step for step in played.calls() if step["expected"]["asked"] == "GET /v1/payroll/88"]
    assert [step["expected"]["code"] for step in tried] == [
        None,  # without the proxy
        "mandate.not_covered",  # held
        None,  # released
        "mandate.not_covered",  # held anew
        "manifest.signature",  # under a rewritten manifest
    ]


def test_nobody_knocked_at_the_forbidden_door(played: Played) -> None:
    tried = [step["expected"] for step in played.calls() if "meta-data" in step["expected"]["asked"]]
    assert [step["code"] for step in tried] == ["guard.address", "guard.address"]
    assert {entry["door"] for entry in played.log} == {"erp"}


def test_the_same_valid_key_every_time_and_nothing_of_ours_reached_the_server(played: Played) -> None:
    received = played.received()
    assert len({request.headers["authorization"] for request in received}) == 1
    for request in received:
        assert OURS.isdisjoint(request.headers), request
    direct, proxied = received[:WITHOUT], received[WITHOUT:]
    assert [request.headers for request in direct] == [request.headers for request in proxied[:WITHOUT]], (
        "what the proxy sends on is what the agent would have sent by itself"
    )


def test_the_journal_has_a_decision_for_every_call_that_came_to_the_proxy(played: Played) -> None:
    decisions = [line for line in played.journal if line["kind"] == "decision" and "intent.internal" not in line["url"]]
    told = [step["expected"]["code"] or "allowed" for step in played.calls()[WITHOUT:]]
    assert [line["code"] for line in decisions] == told
    verdicts = {"allowed": "allow", "mandate.not_covered": "hold"}
    assert [line["verdict"] for line in decisions] == [verdicts.get(code, "deny") for code in told]
    passed = [f"{line['method']} /{line['url'].split('/', 3)[3]}" for line in decisions if line["verdict"] == "allow"]
    assert passed == [request.line for request in played.received()[WITHOUT:]]


def test_the_release_is_in_the_journal_under_the_reviewers_name(played: Played) -> None:
    holds = [line for line in played.journal if line["kind"] == "hold"]
    first = [line for line in holds if line["hold_id"] == holds[0]["hold_id"]]
    assert [line["event"] for line in first][:2] == ["file", "approve"]
    assert (first[1]["by"], first[1]["reason"]) == ("maria", "payee 88 is on the staff")
    assert first[-1]["state"] == "released"
    assert len({line["hold_id"] for line in holds}) == 2


def test_both_views_of_the_held_call_are_shown(played: Played) -> None:
    text = " ".join(played.done.stdout.replace("│", " ").split())
    hold_id = next(line["hold_id"] for line in played.journal if line["kind"] == "hold")
    assert '"title": "The mandate does not cover this call"' in text
    assert f"Ask http://intent.internal/holds/{hold_id} for the decision" in text
    assert "invoice-bot wants to GET /v1/payroll/88 on localhost" in text
    assert f"holds release {hold_id} --as maria" in text


def test_the_forged_line_is_named(played: Played) -> None:
    text = played.done.stdout.replace("\n  │   ", " ")
    (line,) = re.findall(r"In a copy, somebody rewrites line (\d+), the held call", text)
    (named,) = re.findall(r"│ (\S+\.jsonl):(\d+): changed:", text)
    assert named[1] == line
    forged = json.loads((played.kept / "journal" / named[0]).read_text().splitlines()[int(line) - 1])
    assert (forged["verdict"], forged["url"].partition("/v1")[2]) == ("hold", "/payroll/88"), "the kept one is genuine"


def test_the_text_fits_eighty_columns_and_has_no_escapes_off_a_terminal(played: Played) -> None:
    assert [line for line in played.done.stdout.splitlines() if len(line) > 80] == []
    assert "\x1b" not in played.done.stdout
    assert played.done.stderr == ""


def test_nothing_of_it_stays(played: Played) -> None:
    assert list(played.temporary.iterdir()) == []
    assert processes_of(played.temporary) == []


def test_evidence_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("mine")
    done = subprocess.run([*DEMO, "--keep", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]
