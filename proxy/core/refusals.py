"""The first half of every refusal's sentence: which call, under whose mandate, and what became of it."""

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Call, Decision, Verdict

MAX_CHARS = 160
"""Of a URL in a sentence. Whoever reads it knows what they asked."""

_FAILED = frozenset({Code.UPSTREAM_NAME, Code.UPSTREAM_CONNECT, Code.UPSTREAM_TLS, Code.UPSTREAM_BROKEN})
_STOPPED = frozenset({Code.KILL_SWITCH, Code.QUARANTINED})
_SENT_BEFORE = frozenset({Code.HOLD_RELEASING, Code.HOLD_UNCERTAIN, Code.HOLD_SPENT})


def what_happened(decision: Decision, call: Call | None) -> str:
    """Such as: GET https://erp.example/v1/salaries is held, under the mandate of invoice-bot from ada."""
    return f"{_asked(call)} {_became(decision)}, {_under(decision)}"


def cut_off(stopped: Rejected | Unavailable, *, sent: bool) -> tuple[Code, str]:
    """The code and the words for a call that was ended while it was under way. Once bytes of it may have left, nobody
    is told that nothing was sent, or to send it again as if nothing had been.
    """
    if not sent:
        return stopped.code, stopped.detail
    detail = f"{stopped.detail}; the call was under way, and may have arrived"
    return Code.UPSTREAM_BROKEN if isinstance(stopped, Unavailable) else stopped.code, detail


def _asked(call: Call | None) -> str:
    if call is None:
        return "This request"
    place = f"{call.origin}{call.path}"
    return f"{call.method} {place if len(place) <= MAX_CHARS else place[:MAX_CHARS] + '…'}"


def _became(decision: Decision) -> str:
    if decision.verdict is Verdict.HOLD:
        return "is held"
    if decision.code in _FAILED:
        return "failed"
    if decision.code in _STOPPED:
        return "was stopped"
    return "was not sent again" if decision.code in _SENT_BEFORE else "was refused"


def _under(decision: Decision) -> str:
    if decision.agent is None:
        return "with no mandate proven"
    return f"under the mandate of {decision.agent} from {decision.sponsor or 'nobody known'}"
