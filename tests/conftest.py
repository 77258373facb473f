"""What holds for every test: no skipped test where all are required, and properties that never depend on speed."""

import os
import signal

import pytest
import vectors
from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=100, deadline=None, derandomize="REQUIRE_ALL" in os.environ)
settings.register_profile("long", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("mutants", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

SLOW_ROOMS = ("faults", "torture", "edge", "corpus", "demo", "cli", "stores", "agent")
"""Rooms whose tests start programs. They come first, so that no worker waits at the end for another's long file."""


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so does all that it starts: tests send it."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((SLOW_ROOMS.index(part) for part in item.path.parts if part in SLOW_ROOMS), 99))


def _skips(config: pytest.Config) -> list[pytest.TestReport]:
    """The skipped tests, but for those of the corpus: it is no part of the product and need not be beside it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter is not None else []
    return [report for report in reports if vectors.ABSENT not in str(report.longrepr)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With REQUIRE_ALL=1 a skipped test is a failed run: whoever says so has installed everything."""
    if os.environ.get("REQUIRE_ALL") == "1" and _skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which skips failed the run; `-ra` prints each reason."""
    skipped = _skips(terminalreporter.config)
    if os.environ.get("REQUIRE_ALL") == "1" and skipped:
        places = ", ".join(sorted({report.nodeid or str(report.longrepr) for report in skipped}))
        terminalreporter.write_line(f"REQUIRE_ALL=1: {len(skipped)} skipped, and none may be: {places}", red=True)
