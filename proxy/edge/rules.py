"""Packet rules put into the kernel, read back, and taken away again. Needs CAP_NET_ADMIN in the network namespace.

What drops is put there first and taken away last: whatever fails in between, agents have no network rather than an
open one. Other people's rules are not touched.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from proxy.core import iptables, nftables
from proxy.core.errors import Code, Rejected
from proxy.core.netrules import Arrangement

_WITHIN_S = 20
_PLACES = "/usr/sbin:/sbin:/usr/bin:/bin"  # where such programs are, whatever PATH says


def apply(rules: Arrangement, *, legacy: bool) -> None:
    """Put the rules there in place of what we put there before, and look whether they stand. `legacy`: by iptables.

    Raises:
        Rejected(CONFIG_INVALID): as `netrules.check`; or the program is missing, or may not; or they do not stand as
            they were meant, whatever the program said.
    """
    if not legacy:
        _run(["nft", "-f", "-"], nftables.ruleset(rules))
        _look(_standing_nft(), {(name, _length(body)) for name, body in nftables.chains(rules)})
        return
    for six in _families():
        listed = iptables.chains(rules, six=six)
        for table in iptables.tables(listed):
            missing = frozenset(
                each.name for each in listed if each.table == table and each.hook and not _jumps(each, six=six)
            )
            _run([_program(six, "-restore"), "--noflush", "-w"], iptables.restore(listed, table, jumps=missing))
        _look(_standing_ipt(listed, six=six), {(each.name, len(each.rules) + bool(each.hook)) for each in listed})


def remove(arrangement: type[Arrangement], *, legacy: bool) -> None:
    """Take away what `apply` put there; nothing happens where nothing is.

    Raises:
        Rejected(CONFIG_INVALID): the program is missing, or may not.
    """
    if not legacy:
        _run(["nft", "-f", "-"], nftables.removal())
        return
    for six in _families():
        ours = iptables.names(arrangement)
        for table, name, hook in ours:
            if hook:
                _silently([_program(six), "-w", "-t", table, "-D", hook, "-j", name])
        for table, name, _ in ours:
            _silently([_program(six), "-w", "-t", table, "-F", name])
        for table, name, _ in ours:
            _silently([_program(six), "-w", "-t", table, "-X", name])


def _families() -> Iterator[bool]:
    """IPv4, and IPv6 where the kernel has it."""
    yield False
    if Path("/proc/net/if_inet6").exists():
        yield True


def _program(six: bool, suffix: str = "") -> str:
    return f"ip{'6' if six else ''}tables{suffix}"


def _jumps(chain: iptables.Chain, *, six: bool) -> bool:
    words = [_program(six), "-w", "-t", chain.table, "-C", chain.hook, "-j", chain.name]
    return _silently(words)


def _standing_nft() -> set[tuple[str, int]]:
    listed = json.loads(_run(["nft", "-j", "list", "table", nftables.FAMILY, nftables.TABLE]))["nftables"]
    found = {item["chain"]["name"]: 0 for item in listed if "chain" in item}
    for item in listed:
        if "rule" in item:
            found[item["rule"]["chain"]] += 1
    return set(found.items())


def _length(body: Sequence[str]) -> int:
    return sum(not line.startswith("type ") for line in body)


def _standing_ipt(listed: tuple[iptables.Chain, ...], *, six: bool) -> set[tuple[str, int]]:
    found = set()
    for each in listed:
        lines = _run([_program(six), "-w", "-t", each.table, "-S", each.name]).splitlines()
        count = sum(line.startswith("-A ") for line in lines) + (bool(each.hook) and _jumps(each, six=six))
        found.add((each.name, count))
    return found


def _look(standing: set[tuple[str, int]], meant: set[tuple[str, int]]) -> None:
    if standing != meant:
        differing = ", ".join(sorted(name for name, _ in standing ^ meant))
        detail = (
            f"the packet rules do not stand as they were put there (differing: {differing}): something else changes"
        )
        raise Rejected(Code.CONFIG_INVALID, f"{detail} them; stop it and apply them again")


def _run(words: list[str], text: str = "") -> str:
    done = _called(words, text)
    if done.returncode:
        first = " ".join(done.stderr.split())[:300] or "it does not say why"
        raise Rejected(Code.CONFIG_INVALID, f"{words[0]} did not take the rules, and changed none of them: {first}")
    return done.stdout


def _silently(words: list[str]) -> bool:
    """Whether it did what it was told; it says no where what it was asked about is not there."""
    return _called(words).returncode == 0


def _called(words: list[str], text: str = "") -> "subprocess.CompletedProcess[str]":
    found = shutil.which(words[0], path=_PLACES)
    if found is None:
        package = "nftables" if words[0] == "nft" else "iptables"
        detail = f"{words[0]} is needed to set packet rules and is not in {_PLACES}: install {package}"
        raise Rejected(Code.CONFIG_INVALID, detail)
    try:
        done = subprocess.run(  # noqa: S603 (our own argument list, no shell)
            [found, *words[1:]], input=text, capture_output=True, text=True, timeout=_WITHIN_S, check=False, env={}
        )
    except subprocess.TimeoutExpired:
        raise Rejected(Code.CONFIG_INVALID, f"{words[0]} did not end within {_WITHIN_S} s") from None
    if done.returncode and ("ermission" in done.stderr or "not permitted" in done.stderr):
        detail = f"this process may not set packet rules: run it as root with CAP_NET_ADMIN ({words[0]} was refused)"
        raise Rejected(Code.CONFIG_INVALID, detail)
    return done
