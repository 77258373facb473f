"""A held call on a terminal and as JSON: what would happen, why it stopped, and exactly what would be sent."""

from collections.abc import Sequence
from datetime import datetime

from proxy.cli.screen import BAD, LABEL, WARN, Screen
from proxy.cli.visible import visible
from proxy.cli.words import instant, until
from proxy.core.model import Hold, HoldState, Means, Risk
from proxy.review.desk.bodies import body_view, plain
from proxy.review.documents import Remark, lost_words, remarks, sha256_words
from proxy.review.documents import held_json as held_json
from proxy.review.documents import hold_json as hold_json
from proxy.review.opened import HeldCall, Shown

MAX_BODY_LINES = 200
MAX_LINE_CHARS = 2_000


def show_held(
    screen: Screen, held: HeldCall, *, now: datetime, said: Sequence[Remark] | None = None, laid_out: Sequence[str] = ()
) -> None:
    """Everything a reviewer needs, in the order to read it. `said` as for `held_json`; `laid_out` is the body where
    some of it is hidden.
    """
    hold, lost = held.hold, held.hold.state is HoldState.UNCERTAIN
    screen.say(f"Hold {hold.id}", style=LABEL)
    at = f" at {instant(hold.decided_at)}" if hold.decided_at else ""
    screen.facts(
        [
            ("state", f"{state_words(hold)}{at}"),
            ("reason", hold.reason or ""),
            ("expires", ends(hold, now)),
            ("may resolve" if lost else "may release", _deciders(held)),
            ("later also", "; ".join(f"{', '.join(rung.people)} from {instant(rung.since)} on" for rung in held.later)),
            ("released by", ", ".join(held.signers) if hold.state is HoldState.HELD else ""),
        ],
        indent=2,
    )
    if held.shown is None:
        screen.note("the call itself was deleted when the hold ended; the journal has its digest")
        return
    if lost:
        _show_lost(screen, hold)
    _show_said(screen, remarks(held) if said is None else said)
    _show_why(screen, hold, held.shown)
    _show_call(screen, held.shown, "What may have been sent" if lost else "What would be sent", laid_out)


def state_words(hold: Hold) -> str:
    """A hold's state, and by whom it came there. What became of a call that left is nobody's word."""
    if hold.decided_by is None:
        return hold.state.value
    said = "uncertain, released" if hold.state is HoldState.UNCERTAIN else hold.state.value
    return f"{said} by {hold.decided_by}{_SIGNED[hold.decided_with]}"


_SIGNED = {None: "", Means.KEY: "", Means.PASSKEY: ", with a passkey", Means.DESK: ", as the desk's key alone says"}


def ends(hold: Hold, now: datetime) -> str:
    """When its time is up. What is uncertain waits for a person, however long that takes."""
    return "never" if hold.state is HoldState.UNCERTAIN else until(hold.expires_at, now)


def _show_lost(screen: Screen, hold: Hold) -> None:
    screen.say()
    screen.say("Nobody knows whether it arrived", style=BAD)
    for line in lost_words(hold):
        screen.say(f"  {line}")


def _deciders(held: HeldCall) -> str:
    several = f" ({held.hold.quorum} different people must)" if held.hold.quorum > 1 else ""
    return f"{', '.join(held.deciders) or 'nobody'}{several}"


def _show_said(screen: Screen, said: Sequence[Remark]) -> None:
    """What people signed about it, each on a line."""
    if said:
        screen.say()
        screen.say("What was said", style=LABEL)
    for one in said:
        until_then = f" until {instant(one.until)}" if one.until is not None else ""
        why = f": {one.reason}" if one.reason else ""
        screen.say(f"  {instant(one.at)}  {one.by}, {one.event}{until_then}{why}")


def asked_for(held: HeldCall) -> str:
    """Method and URL, or the digest once the call is gone."""
    if held.shown is None:
        return f"(deleted; digest {held.hold.call_digest[:12]}…)"
    return f"{held.shown.stored.call.method} {held.shown.url}"


def _show_why(screen: Screen, hold: Hold, shown: Shown) -> None:
    decision = shown.stored.decision
    screen.say()
    screen.say(shown.consequence, style=WARN)
    if hold.risk is Risk.TRANSFORMATIVE and hold.state is not HoldState.UNCERTAIN:
        screen.say("It changes things; a release cannot be taken back.", style=BAD)
    screen.say()
    screen.say("Why it was held", style=LABEL)
    for line in shown.explanation.lines:
        screen.say(f"  {line}")
    screen.say()
    screen.say("Asked under", style=LABEL)
    screen.facts(
        [
            ("agent", f"{hold.agent} (sponsor {hold.sponsor})"),
            ("purpose", decision.purpose or ""),
            ("declares", _declared(shown)),
            ("proof", hold.proof.label),
            ("manifest", hold.root_id),
        ],
        indent=2,
    )


def _show_call(screen: Screen, shown: Shown, title: str, laid_out: Sequence[str]) -> None:
    call = shown.stored.call
    screen.say()
    screen.say(title, style=LABEL)
    screen.say(f"  {call.method} {shown.url}")
    for name, value in shown.headers:
        screen.say(f"  {name}: {value}")
    if (credential := shown.stored.decision.credential) is not None:
        screen.say(f"  (and {credential.words}, which the proxy sets, whatever stands above as {credential.replaces})")
    if call.body == b"":
        screen.say("  (no body)")
        return
    screen.say(f"  body: {call.body_bytes} bytes, SHA-256 {sha256_words(call)}")
    if shown.body is None and laid_out:
        screen.say("  (some of it is hidden, and says so outside the quotes; --save-body FILE writes all)")
        _show_lines(screen, laid_out)
        return
    if shown.body is None:
        screen.say("  (over the inspection cap: its bytes were not kept, and the agent has to send them again)")
        if call.body_sha256 is not None:
            screen.say(f"  (sha256sum prints {call.body_sha256.hex()} for it)")
        return
    view = body_view(call, reveal=False)
    if view.hidden:
        screen.say("  (some of it is hidden, and says so outside the quotes; --save-body FILE writes all)")
        _show_lines(screen, [*map(plain, view.laid_out), *(f"{name}: {value.text}" for name, value in view.fields)])
        return
    try:
        text = shown.body.decode("utf-8")
    except UnicodeDecodeError:
        screen.say("  (not text; --save-body FILE writes it out)")
        return
    _show_lines(screen, text.split("\n"))


def _show_lines(screen: Screen, lines: Sequence[str]) -> None:
    """A body's lines, each behind a bar. What is said of them stands on lines without one: no body can look so."""
    for line in lines[:MAX_BODY_LINES]:
        screen.say(f"  | {visible(line[:MAX_LINE_CHARS])}")
        if len(line) > MAX_LINE_CHARS:
            over = len(line) - MAX_LINE_CHARS
            screen.say(f"  … and {over} more characters in the line above; --save-body FILE writes all", style=WARN)
    if len(lines) > MAX_BODY_LINES:
        screen.say(f"  … and {len(lines) - MAX_BODY_LINES} more lines; --save-body FILE writes all", style=WARN)


def _declared(shown: Shown) -> str:
    intent = shown.stored.decision.intent
    parts = [
        f"cluster {intent.cluster}" if intent.cluster else "",
        f"task {intent.task}" if intent.task else "",
        f"step {intent.step}" if intent.step is not None else "",
    ]
    return ", ".join(part for part in parts if part) or "nothing"
