"""What would let this process go past every packet rule: capabilities, raw sockets, the proxy's own uid, a runtime."""

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from proxy.agent.doctor import kernel
from proxy.agent.doctor.findings import Finding, fail, ok, unknown

PROXY_PORTS = (8444, 5353)
"""Where the listener and the stub of a proxy stand that shares this network namespace."""

RUNTIMES = ("/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/podman/podman.sock")

_ETH_ALL = 3
_RAW = (
    ("AF_PACKET", "raw", socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ALL)),
    ("AF_PACKET", "datagram", socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_ALL)),
    ("IPv4", "raw", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    ("IPv4", "raw ICMP", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    ("IPv6", "raw", socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
    ("IPv6", "raw ICMP", socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
)
_WORST = {
    "CAP_NET_RAW": "send raw frames past every rule",
    "CAP_NET_ADMIN": "take the rules away",
    "CAP_SYS_PTRACE": "look into the proxy and act as it",
    "CAP_SYS_ADMIN": "enter other namespaces",
    "CAP_SETUID": "become the proxy's user",
}
_DROP = "start the agent with every capability dropped (--cap-drop ALL; capabilities: {drop: [ALL]})"
_NO_NEW = "and with no-new-privileges (--security-opt no-new-privileges; allowPrivilegeEscalation: false)"


def privileges(proxy_uids: Sequence[int], *, proc: Path = kernel.PROC) -> Iterator[Finding]:
    """Every finding about what this process may do."""
    yield replace(
        _capabilities(kernel.powers(proc)),
        tried="the sets in /proc/self/status",
        expected="none held, and none to be gained",
    )
    yield replace(raw_sockets(), tried="AF_PACKET and raw sockets", expected="refused")
    yield replace(_user(proxy_uids, proc), tried="this process's uid", expected="not the proxy's, not root's")
    yield replace(_runtimes(RUNTIMES), tried=", ".join(RUNTIMES), expected="not there, or not open to this user")


def _capabilities(powers: kernel.Powers | None) -> Finding:
    name = "capabilities"
    if powers is None:
        return unknown(name, "the kernel does not say which this process has", "let /proc/self/status be read here")
    if powers.held:
        return fail(name, f"this process has {_worst(powers.held)}", _DROP)
    if powers.reachable and not powers.no_new_privileges:
        text = f"none is held, but a program started here may gain {_worst(powers.reachable)}"
        return fail(name, text, f"{_DROP}, {_NO_NEW}")
    return ok(name, "none" if not powers.reachable else "none, and none can be gained (no_new_privs)")


def _worst(bits: int) -> str:
    """Those that lead out first, and what they are for."""
    held = kernel.named(bits)
    told = [f"{each} (may {_WORST[each]})" for each in _WORST if each in held]
    rest = [each for each in held if each not in _WORST]
    return ", ".join([*told, *(rest if len(rest) < 4 else [f"{len(rest)} more"])])


def raw_sockets() -> Finding:
    """Whether the kernel gives this process a socket that sends what it likes."""
    for family, kind, number, type_, protocol in _RAW:
        try:
            socket.socket(number, type_, protocol).close()
        except OSError:
            continue
        return fail("raw sockets", f"this process gets a {family} socket ({kind}): it passes by every rule", _DROP)
    return ok("raw sockets", "refused")


def _user(proxy_uids: Sequence[int], proc: Path) -> Finding:
    """Packet rules of a sidecar tell agents from the proxy by uid alone."""
    beside = {
        each.uid
        for each in kernel.sockets(proc)
        if each.state == kernel.LISTENING and each.local[1] in PROXY_PORTS and not each.remote[1]
    }
    own, shown = {os.getuid(), os.geteuid()}, os.getuid()
    if own & {*proxy_uids, *beside}:
        return fail("uid", f"this is uid {shown}, and so is the proxy: rules cannot tell them apart", _another())
    if 0 in own:
        return fail("uid", "this is root (uid 0)", _another())
    seen = sorted({*proxy_uids, *beside})
    told = f"the proxy's is {', '.join(map(str, seen))}" if seen else "no proxy is in this network namespace"
    return ok("uid", f"{shown}; {told}")


def _another() -> str:
    return "run the agent under a uid of its own (--user 20001; runAsUser: 20001), never the proxy's"


def _runtimes(paths: Sequence[str]) -> Finding:
    for path in paths:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(1)
                sock.connect(path)
        except OSError:
            continue
        return fail(
            "container runtime",
            f"{path} takes connections: whoever may use it may start a container with any network",
            "do not mount it into the agent's container",
        )
    return ok("container runtime", "none can be reached")
