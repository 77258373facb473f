"""A journal line in words, and as JSON."""

from collections.abc import Callable, Mapping

from proxy.audit.lines import Kind, stamp
from proxy.audit.show import Row, Unreadable
from proxy.cli.screen import BAD, GOOD, NOTE, WARN
from proxy.core.encoding import Json

_VERDICTS = {"allow": GOOD, "hold": WARN, "deny": BAD}


_MACHINE = frozenset({"sig", "format", "boot", "kid"})
"""Members that only `audit verify` reads."""


def row_words(row: Row | Unreadable) -> tuple[str, str]:
    """One line of text, and its style."""
    if isinstance(row, Unreadable):
        what = "torn" if row.torn else "UNREADABLE"
        return f"{row.file}:{row.number}  {what}: {row.detail}", BAD
    words = _WORDS.get(row.kind, _other)
    return f"{row.at:%Y-%m-%d %H:%M:%S}  {row.kind:<8}  {words(row.fields)}", _VERDICTS.get(row.verdict or "", NOTE)


def row_json(row: Row | Unreadable) -> Json:
    """One line as an object: where it stands, and everything it says."""
    if isinstance(row, Unreadable):
        return {"file": row.file, "line": row.number, "unreadable": row.detail, "torn": row.torn}
    place: dict[str, Json] = {
        "file": row.file,
        "line": row.number,
        "seq": row.seq,
        "at": stamp(row.at),
        "kind": row.kind,
    }
    return {**row.fields, **place}


def _decision(fields: Mapping[str, Json]) -> str:
    rule = fields.get("rule")
    place = f" [{rule['file']}:{rule['line']}]" if isinstance(rule, Mapping) and {"file", "line"} <= rule.keys() else ""
    asked = _joined(fields, "method", "url") or "(no call)"
    why = "" if fields.get("verdict") == "allow" else f": {_text(fields, 'message')}"
    return f"{_text(fields, 'verdict'):<5}  {_joined(fields, 'agent', 'code')}  {asked}{place}{why}"


def _outcome(fields: Mapping[str, Json]) -> str:
    ended = _joined(fields, "status", "error") or "no answer"
    up, down, spent = (_text(fields, name) for name in ("bytes_up", "bytes_down", "duration_ms"))
    told = fields.get("websocket")
    said = ""
    if isinstance(told, Mapping):
        said = f"{_text(told, 'messages_up')} messages up, {_text(told, 'messages_down')} down, "
    return f"{ended}  {said}{up} bytes up, {down} down, {spent} ms  (decision {_text(fields, 'decision_id')})"


def _hold(fields: Mapping[str, Json]) -> str:
    by = f" by {_text(fields, 'by')}{_SIGNED.get(_text(fields, 'signed_with'), '')}" if fields.get("by") else ""
    reason = f": {_text(fields, 'reason')}" if fields.get("reason") else ""
    return f"{_text(fields, 'event')}{by}, now {_text(fields, 'state')}  {_joined(fields, 'agent', 'hold_id')}{reason}"


_SIGNED = {"passkey": " (passkey)", "desk": " (the desk's key alone)"}
"""With what somebody's word was signed, unless it was a key of their own."""


def _control(fields: Mapping[str, Json]) -> str:
    return f"{_joined(fields, 'act', 'target')} by {_text(fields, 'by')}: {_text(fields, 'reason')}"


def _grant(fields: Mapping[str, Json]) -> str:
    use = f"use {_text(fields, 'use')} of {_text(fields, 'count')}"
    return f"{use} of {_text(fields, 'grant')} by {_text(fields, 'by')}: {_text(fields, 'reason')}"


def _review(fields: Mapping[str, Json]) -> str:
    return f"{_text(fields, 'event')} by {_text(fields, 'by')}  {_joined(fields, 'agent', 'hold_id', 'token')}"


def _other(fields: Mapping[str, Json]) -> str:
    shown = (name for name in fields if name not in _MACHINE and isinstance(fields[name], str | int))
    return "  ".join(f"{name}={_text(fields, name)}" for name in shown)


_WORDS: Mapping[str, Callable[[Mapping[str, Json]], str]] = {
    Kind.DECISION: _decision,
    Kind.OUTCOME: _outcome,
    Kind.HOLD: _hold,
    Kind.CONTROL: _control,
    Kind.GRANT: _grant,
    Kind.REVIEW: _review,
}


def _joined(fields: Mapping[str, Json], *names: str) -> str:
    return "  ".join(text for name in names if (text := _text(fields, name)))


def _text(fields: Mapping[str, Json], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else str(value)
