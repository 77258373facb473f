"""An outcome in words says how the call ended, also when it began well."""

from datetime import UTC, datetime

import pytest

from proxy.audit.show import Row
from proxy.cli.journalwords import row_words

OTHERS = ("decision_id", "hold_id", "agent", "sponsor", "manifest", "verdict", "code", "host")
NUMBERS = {"decision_id": "d-1", "bytes_up": 5, "bytes_down": 7, "duration_ms": 9}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"status": 200}, "200  5 bytes up, 7 down, 9 ms", id="an answer"),
        pytest.param({"error": "client.gone"}, "client.gone  5 bytes up, 7 down, 9 ms", id="no answer"),
        pytest.param({}, "no answer  5 bytes up", id="nothing is known"),
        pytest.param({"status": 200, "error": "stop.kill_switch"}, "200  stop.kill_switch  5 bytes", id="cut off"),
        pytest.param(
            {"status": 101, "websocket": {"messages_up": 1, "messages_down": 2}},
            "101  1 messages up, 2 down, 5 bytes up, 7 down, 9 ms",
            id="a WebSocket",
        ),
        pytest.param(
            {"status": 101, "websocket": {}}, "101   messages up,  down, 5 bytes up", id="a WebSocket uncounted"
        ),
    ],
)
def test_an_outcome_says_how_the_call_ended(fields: dict[str, object], words: str) -> None:
    at, absent = datetime(2026, 3, 2, tzinfo=UTC), dict.fromkeys(OTHERS)
    row = Row(file="f", number=1, seq=1, at=at, kind="outcome", fields=NUMBERS | fields, **absent)
    assert words in row_words(row)[0]


@pytest.mark.parametrize(
    ("signed_with", "words"),
    [
        pytest.param("key", "approve by ada, now approved", id="a key of their own"),
        pytest.param("passkey", "approve by ada (passkey), now approved", id="a passkey"),
        pytest.param("desk", "approve by ada (the desk's key alone), now approved", id="the desk's word"),
    ],
)
def test_it_is_told_with_what_a_word_was_signed(signed_with: str, words: str) -> None:
    at, absent = datetime(2026, 3, 2, tzinfo=UTC), dict.fromkeys(OTHERS)
    fields = {"event": "approve", "state": "approved", "by": "ada", "signed_with": signed_with}
    row = Row(file="f", number=1, seq=1, at=at, kind="hold", fields=fields, **absent)
    assert words in row_words(row)[0]
