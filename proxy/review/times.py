"""Moments and durations as people read them."""

from datetime import UTC, datetime, timedelta

from proxy.core import spans


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(length: timedelta) -> str:
    """A duration in its two largest units: `3 d 4 h`, `12 min`, `40 s`."""
    return spans.span(int(length.total_seconds()), parts=2)


def until(moment: datetime, now: datetime) -> str:
    """A moment, and how far it is: `2027-06-30T00:00:00Z (in 3 d 4 h)`."""
    if moment >= now:
        return f"{instant(moment)} (in {span(moment - now)})"
    return f"{instant(moment)} ({span(now - moment)} ago)"
