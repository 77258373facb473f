"""Moments and durations as people read and write them."""

from datetime import UTC, datetime, timedelta

import typer

from proxy.policy.document import duration_s
from proxy.review.times import instant as instant
from proxy.review.times import span as span
from proxy.review.times import until as until

_LONGEST = timedelta(days=36_500)


def read_span(text: str) -> timedelta:
    """A duration as in the configuration: `30s`, `15m`, `4h`, `90d`; an option's parser.

    Raises:
        typer.BadParameter: another spelling, none at all, or more than a hundred years.
    """
    try:
        length = timedelta(seconds=duration_s(text))
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None
    if not timedelta(0) < length <= _LONGEST:
        raise typer.BadParameter(f"expected a duration from 1s to {_LONGEST.days}d, got {text}")
    return length


def read_moment(text: str) -> datetime:
    """A moment: `15m` ago, a date (its beginning, UTC), or an RFC 3339 time; an option's parser.

    Raises:
        typer.BadParameter: another spelling.
    """
    try:
        return datetime.now(UTC) - timedelta(seconds=duration_s(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        wanted = "15m (ago), 2027-06-30 or 2027-06-30T18:00:00Z"
        raise typer.BadParameter(f"expected {wanted}, got {text!r}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
