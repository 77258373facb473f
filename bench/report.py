"""The results for people: tables in Markdown that read well on a terminal, too."""

from collections.abc import Callable, Iterator, Sequence

from bench.desk import KEYS
from bench.https import CARRYING, CONNECTIONS, LANES, Measured
from bench.results import Results
from bench.spread import Spread
from bench.streams import Streamed

_RATIO_WORDS = {
    "full_vs_stock_https": "full enforcement / stock, lazy (CPU)",
    "full_with_store_vs_stock_https": "the same, with Valkey's CPU counted as ours",
    "full_vs_stock_defaults_https": "full enforcement / stock, its own defaults (CPU)",
    "off_vs_stock_https": "enforcement off / stock, lazy (CPU)",
    "full_vs_off_https": "full enforcement / enforcement off (CPU)",
    "full_with_store_vs_off_https": "the same, with Valkey's CPU counted as ours",
    "full_vs_stock_carrying_https": "full enforcement / stock, lazy, both carrying the signed headers (CPU)",
    "full_vs_off_carrying_https": "full enforcement / enforcement off, both carrying the signed headers (CPU)",
    "full_vs_stock_p99_https": "full enforcement / stock, lazy (p99 latency)",
    "full_vs_off_p99_https": "full enforcement / enforcement off (p99 latency)",
}


def render(results: Results) -> str:
    """The whole report."""
    parts = [_head(results)]
    if results.decisions:
        parts.append(_decisions(results))
    if results.https.rounds:
        parts += [_https(results), _checked(results)]
    if results.streams:
        parts.append(_streams(results))
    if results.desk is not None:
        parts.append(_desk(results))
    parts.append(_missing(results))
    return "\n\n".join(parts) + "\n"


def _head(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    load = " ".join(f"{value:.1f}" for value in machine.load_average)
    lines = [
        "# Results of the benchmark",
        "",
        f"- command: `{results.command}`, {results.at:%Y-%m-%d %H:%M} UTC",
        f"- machine: {machine.processor}, {machine.cores} cores, {machine.system}; load average before: {load}",
        f"- cores: {results.cores}",
        f"- disk of journal and store: {machine.disk}, one fdatasync {machine.fdatasync_p50_us} µs "
        f"(p99 {machine.fdatasync_p99_us} µs)",
        f"- versions: {versions}",
    ]
    if results.note:
        lines.append(f"- note: {results.note}")
    lines += ["", "Every figure is a median over rounds or blocks, with the smallest and the largest in brackets."]
    return "\n".join(lines)


def _decisions(results: Results) -> str:
    rows = [
        [
            f"{size:,}",
            _with_range(each.p50_us, 1),
            _with_range(each.p99_us, 1),
            f"{each.compile_s:.3f}",
            f"{each.policy_mb:.0f}",
        ]
        for size, each in results.decisions.items()
    ]
    table = _table(["rules", "p50 µs", "p99 µs", "compile s", "memory MB"], rows)
    growth = results.keys()["decide_p50_100000_vs_10"]
    said = f"\n\np50 at 100,000 rules / at 10: **{_with_range(growth, 2)}**." if isinstance(growth, Spread) else ""
    return f"## Decisions\n\nOne `decide` on an allowed call, in process, warm.\n\n{table}{said}"


def _https(results: Results) -> str:
    columns: tuple[tuple[str, Callable[[Measured], float], int], ...] = (
        ("CPU µs", lambda each: each.cpu_us, 0),
        ("Valkey µs", lambda each: each.store_us, 0),
        ("p50 ms", lambda each: each.p50_us / 1000, 1),
        ("p99 ms", lambda each: each.p99_us / 1000, 1),
        ("requests/s", lambda each: each.per_s, 0),
        ("cores busy", lambda each: each.busy, 2),
    )
    rows = []
    for lane in (*LANES, *CARRYING):
        if rounds := results.https.rounds.get(lane.name):
            cells = [_with_range(Spread.of([of(each) for each in rounds]), digits) for _, of, digits in columns]
            rows.append([lane.title, *cells, str(rounds[0].request_bytes)])
    table = _table(["system", *(name for name, _, _ in columns), "request bytes"], rows)
    keys = results.keys()
    ratios = [
        [f"**{_with_range(keys[key], 2)}**", words]
        for key, words in _RATIO_WORDS.items()
        if not isinstance(keys[key], str)
    ]
    intro = (
        f"{CONNECTIONS} keep-alive connections, one worker, one call at a time on each, 1 KB responses. CPU is user "
        "and system time of all processes of the system, per request."
    )
    return (
        f"## HTTPS keep-alive\n\n{intro}\n\n{table}\n\nRatios within each round:\n\n{_table(['ratio', 'of'], ratios)}"
    )


def _streams(results: Results) -> str:
    titles = {"stock_streaming": "stock `mitmdump -q`, told to stream", "full": "ours, full enforcement"}
    columns: tuple[tuple[str, Callable[[Streamed], float], int], ...] = (
        ("first byte ms", lambda each: each.first_byte_ms, 2),
        ("50 MB down, MB", lambda each: each.down_mb, 1),
        ("50 MB up, MB", lambda each: each.up_mb, 1),
    )
    rows = [
        [titles[name], *(_with_range(Spread.of([of(each) for each in rounds]), digits) for _, of, digits in columns)]
        for name, rounds in results.streams.items()
    ]
    ratio = _with_range(results.keys()["first_byte_delay_vs_stock"], 2)
    intro = (
        "How much later the first event of a response arrives than it was written, one call at a time; and the most "
        "memory all processes of the system had while 50 MB passed, over what they had when idle."
    )
    checked = (
        "Every body arrived whole and unchanged, every event before the next was written, every call once, and those "
        "under enforcement have their line."
    )
    table = _table(["system", *(name for name, _, _ in columns)], rows)
    return f"## Streams\n\n{intro}\n\n{table}\n\nFirst byte, ours / stock: **{ratio}**. {checked}"


def _desk(results: Results) -> str:
    office, keys = results.desk, results.keys()
    assert office is not None
    rows = [[words, _with_range(keys[key], 2 if key.endswith("cores") else 0)] for key, words in KEYS.items()]
    checked = (
        f"Each of {office.checked.get('events', 0):,} events arrived, by its id in the stream. Two desks had the same "
        f"list; in {office.checked.get('races', 0)} holds that both decided at once one won, and the other was told by "
        "whom."
    )
    table = _table(["what", "measured"], rows)
    return (
        f"## The review desk\n\nWith {office.holds:,} open holds, filed as the gate files them.\n\n{table}\n\n{checked}"
    )


def _checked(results: Results) -> str:
    checked, tls = results.https.checked, results.https.tls
    lines = ["## What was checked", ""]
    if "calls" in checked:
        lines.append(
            f"- {checked['calls']} calls in {checked['rounds']} rounds under full enforcement: each answered 200 with "
            "its own body, each at the origin exactly once, one `allow` line each, each nonce its own and spent in "
            "Valkey."
        )
    if "planted" in checked:
        lines.append(
            f"- {checked['planted']} planted calls among {checked['among']}: each refused for its own reason, none at "
            "the origin, and all the others passed."
        )
    if "calls" in checked:
        lines.append("- The journal verifies, every line of it.")
    lines += [
        f"- TLS of {name}: {', '.join(facts.values())}."
        for name, facts in tls.items()
        if name in ("full", "stock_defaults")
    ]
    lines.append("- Every other system agreed on the same TLS as ours, or the run would have failed.")
    return "\n".join(lines)


def _missing(results: Results) -> str:
    reasons = {key: value for key, value in results.keys().items() if isinstance(value, str)}
    return "## Not measured\n\n" + "\n".join(f"- `{key}`: {reason}" for key, reason in reasons.items())


def _with_range(value: Spread | str, digits: int) -> str:
    if isinstance(value, str):
        return "-"
    return f"{value.median:.{digits}f} ({value.least:.{digits}f}-{value.most:.{digits}f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def lines() -> Iterator[str]:
        for row in (head, ["-" * width for width in widths], *rows):
            yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    return "\n".join(lines())
