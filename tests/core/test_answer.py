"""Answers that need no decision: refusals where no call was read, as they stand on the wire."""

import json

import pytest

from proxy.core.answer import last_message, turned_away
from proxy.core.errors import Code


@pytest.mark.parametrize(
    ("reason", "after_s", "line", "waits"),
    [
        pytest.param(
            "", 2, b"HTTP/1.1 503 service.undecided\r\n", b"\r\nRetry-After: 2\r\n", id="that may be repeated"
        ),
        pytest.param("in words", None, b"HTTP/1.1 503 in words\r\n", b"", id="that may not, in words"),
    ],
)
def test_a_refusal_is_whole_and_the_last(reason: str, after_s: int | None, line: bytes, waits: bytes) -> None:
    answer = turned_away(
        Code.UNDECIDED, status=503, title="No", detail="Ask later.", action="retry", reason=reason, after_s=after_s
    )
    head, _, body = last_message(answer).partition(b"\r\n\r\n")
    assert head.startswith(line) and head.endswith(b"\r\nContent-Length: %d\r\nConnection: close" % len(body))
    assert waits in head and (b"Retry-After" in head) is (after_s is not None)
    members = json.loads(body)
    assert (members["code"], members["message"]) == ("service.undecided", "service.undecided: Ask later.")
    assert members["retry"] == {"action": "retry", "after_s": after_s}
