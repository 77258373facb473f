"""`intent-proxy audit`: reading the journal, and proving that it is as it was written."""

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.keyfile import load_key
from proxy.audit.findings import Report
from proxy.audit.lines import Kind
from proxy.audit.show import Row, Unreadable, Wanted, show_journal
from proxy.audit.sinks import read_checkpoint_file
from proxy.audit.verify import verify_journal
from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.exits import Exit
from proxy.cli.journalwords import row_json, row_words
from proxy.cli.publickeys import read_public_key
from proxy.cli.screen import BAD, GOOD, WARN, Screen, document, json_line
from proxy.cli.where import AsJson, Config
from proxy.cli.words import read_moment
from proxy.core.encoding import Json
from proxy.core.errors import Rejected, Unavailable
from proxy.core.model import PublicKey, Verdict
from proxy.stores.embedded import EmbeddedStore
from proxy.stores.redis import PATIENT_S, RedisServer
from proxy.stores.redis_checkpoints import read_checkpoints

app = typer.Typer(help="The journal: every decision, every hold and every outcome, under the sponsor's name.")

Since = Annotated[
    datetime | None,
    typer.Option(
        parser=read_moment, metavar="WHEN", help="From then on: 15m (ago), a date, or a time.", show_default=False
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(parser=read_moment, metavar="WHEN", help="Before then; written as --since.", show_default=False),
]


def _filter(text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=text, show_default=False)
    return option


@app.command()
def show(
    config: Config = None,
    kind: Annotated[Kind | None, _filter("Only lines of this kind.")] = None,
    verdict: Annotated[str | None, _filter("Only decisions with it: allow, hold or deny.")] = None,
    code: Annotated[str | None, _filter("Only this code, such as mandate.not_covered.")] = None,
    agent: Annotated[str | None, _filter("Only this agent's.")] = None,
    sponsor: Annotated[str | None, _filter("Only this sponsor's.")] = None,
    host: Annotated[str | None, _filter("Only calls to this host.")] = None,
    hold: Annotated[str | None, _filter("Only this hold.")] = None,
    decision: Annotated[str | None, _filter("Only this decision, and its outcome.")] = None,
    manifest: Annotated[str | None, _filter("Only this root manifest, by its id.")] = None,
    since: Since = None,
    until: Until = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Print the journal's lines, oldest first, those that match every filter. With --json one object a line.

    What is printed is read, not verified: see audit verify.

    Examples:
      intent-proxy audit show --verdict deny --since 24h
      intent-proxy audit show --agent invoice-bot --last 20 --json
    """
    if verdict is not None and verdict not in {each.value for each in Verdict}:
        raise typer.BadParameter("a verdict is allow, hold or deny")
    wanted = Wanted(
        kind=kind,
        verdict=verdict,
        code=code,
        agent=agent,
        sponsor=sponsor,
        host=host,
        hold_id=hold,
        decision_id=decision,
        manifest=manifest,
        since=since,
        until=until,
    )
    rows: Iterable[Row | Unreadable] = show_journal(_journal(open_deployment(config)), wanted)
    _print_rows(deque(rows, maxlen=last) if last is not None else rows, as_json=as_json)


@app.command()
def verify(
    config: Config = None,
    node_key: Annotated[
        list[Path] | None,
        typer.Option(help="The public key of another node that wrote here. May be given again.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Prove that no line was changed, removed, added or moved, and no file is missing.

    Signed checkpoints are read from the files and from the store, where it can
    be reached. Exit codes: 0 whole, 1 damaged (the first line printed names file
    and line), 2 it cannot be told.

    Example:
      intent-proxy audit verify && echo whole
    """
    deployment = open_deployment(config)
    try:
        keys = [_own_key(deployment), *(read_public_key(path) for path in node_key or ())]
        tokens, missed = _checkpoints(deployment)
        report = verify_journal(_journal(deployment), checkpoints=tokens, node_keys=keys)
    except (Rejected, Unavailable) as fault:
        return _cannot_tell(fault.detail, as_json=as_json)
    if not report.files and not report.findings:
        return _cannot_tell("the journal has no file yet", as_json=as_json)
    if as_json:
        document(_json(report, missed))
    else:
        _show(report, missed)
    return Exit.OK if report.ok else Exit.REFUSED


def _print_rows(rows: Iterable[Row | Unreadable], *, as_json: bool) -> None:
    screen, printed = Screen(), 0
    for row in rows:
        printed += 1
        if as_json:
            json_line(row_json(row))
        else:
            text, style = row_words(row)
            screen.say(text, style=style)
    if not printed and not as_json:
        screen.note("no line matches")


def _journal(deployment: Deployment) -> Path:
    return deployment.settings.state / "journal"


def _own_key(deployment: Deployment) -> PublicKey:
    return load_key(deployment.settings.state / "node.key").public


def _checkpoints(deployment: Deployment) -> tuple[tuple[str, ...], str]:
    """Every checkpoint within reach, and which place could not be read ("" for none)."""
    settings = deployment.settings
    files = dict.fromkeys((settings.state / "checkpoints.jsonl", settings.journal.sink))
    tokens = tuple(token for path in files if path is not None for token in read_checkpoint_file(path))
    try:
        return tokens + asyncio.run(_stored_checkpoints(deployment)), ""
    except Unavailable as fault:
        return tokens, f"checkpoints in the store were not looked at: {fault.detail}"


async def _stored_checkpoints(deployment: Deployment) -> tuple[str, ...]:
    """The checkpoints in the store. An embedded one that does not run is left alone: the files say the same."""
    url = deployment.settings.redis_url
    if url is None:
        embedded = EmbeddedStore(deployment.settings.state)
        if not embedded.directory.exists() or not embedded.alive():
            return ()
        url = embedded.url
    server = RedisServer(url, deadline_s=PATIENT_S)
    try:
        return await read_checkpoints(server)
    finally:
        await server.close()


def _cannot_tell(why: str, *, as_json: bool) -> int:
    if as_json:
        document({"whole": None, "why": why})
    else:
        Screen().note(f"intent-proxy: it cannot be told: {why}", style=WARN)
    return Exit.CANNOT_TELL


def _show(report: Report, missed: str) -> None:
    screen = Screen()
    for finding in report.findings:
        screen.say(str(finding), style=BAD)
    lines = sum(file.lines for file in report.files)
    unsealed = sum(file.unsealed_lines for file in report.files)
    said = f"{len(report.files)} files, {lines} lines, {report.checkpoints} checkpoints"
    if report.ok:
        screen.say(f"whole: {said}", style=GOOD)
    else:
        many = f"{len(report.findings)} findings" if len(report.findings) > 1 else "one finding"
        screen.note(f"damaged: {many} in {said}", style=BAD)
    if unsealed:
        screen.note(f"{unsealed} lines at the end are not sealed yet: of these nothing can be proven")
    if report.unreadable_checkpoints:
        screen.note(f"{report.unreadable_checkpoints} checkpoints cannot be read", style=WARN)
    if missed:
        screen.note(missed, style=WARN)


def _json(report: Report, missed: str) -> Json:
    return {
        "whole": report.ok,
        "at": now().isoformat(),
        "findings": [
            {
                "file": finding.file,
                "line": finding.line,
                "last_line": finding.last_line,
                "seq": finding.seq,
                "what": finding.what.value,
                "detail": finding.detail,
            }
            for finding in report.findings
        ],
        "files": [
            {"file": file.file, "lines": file.lines, "unsealed_lines": file.unsealed_lines, "stopped": file.stopped}
            for file in report.files
        ],
        "checkpoints": report.checkpoints,
        "unreadable_checkpoints": report.unreadable_checkpoints,
        "missed": missed or None,
    }
