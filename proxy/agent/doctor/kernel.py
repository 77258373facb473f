"""What the kernel tells anybody in this place: its routes, its TCP connections, and what this process may do.

Only read, from /proc. What cannot be read is None or empty: whoever asks must not take that for a good sign.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_REJECTED = 0x0200  # RTF_REJECT: the kernel answers by itself that there is no way
_TENTATIVE = 0x40  # IFA_F_TENTATIVE
_OWNED = frozenset({1, 8, 10})  # TCP_ESTABLISHED, TCP_CLOSE_WAIT, TCP_LISTEN: a program holds it
LISTENING = 10  # TCP_LISTEN in the kernel's tables

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)  # by their bits (capabilities(7))


def address(text: str) -> Address:
    """As `text` says, an IPv4 address in IPv6 form as IPv4.

    Raises:
        ValueError: it is none.
    """
    found = ipaddress.ip_address(text.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


# --- what this process may do -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Powers:
    """The capabilities of this process, as bits, and whether a program it starts could gain any."""

    held: int  # effective, permitted, inheritable or ambient
    reachable: int  # the bounding set: what a program with privileges of its own would get
    no_new_privileges: bool


def powers(proc: Path = PROC) -> Powers | None:
    """Those of this process; None where the kernel does not say."""
    try:
        lines = (proc / "self" / "status").read_text("ascii", "replace").splitlines()
        said = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        held = 0
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            held |= int(said[name], 16)
        return Powers(held=held, reachable=int(said["CapBnd"], 16), no_new_privileges=said["NoNewPrivs"] == "1")
    except (OSError, KeyError, ValueError):
        return None


def named(bits: int) -> tuple[str, ...]:
    """The names of capabilities."""
    names = _CAPABILITIES.split()
    known = tuple(f"CAP_{name}" for at, name in enumerate(names) if bits >> at & 1)
    return (*known, f"unknown ones ({bits:#x})") if bits >> len(names) else known


# --- TCP connections --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the kernel's table of TCP sockets in this network namespace."""

    local: tuple[Address, int]
    remote: tuple[Address, int]
    state: int
    uid: int

    @property
    def owner(self) -> int | None:
        """Whose it is; None for what the kernel alone still keeps, which it lists as root's."""
        return self.uid if self.state in _OWNED else None


def sockets(proc: Path = PROC) -> Iterator[Entry]:
    """Every TCP socket in this network namespace, whoever's it is."""
    for name in ("tcp", "tcp6"):
        with suppress(OSError, ValueError, IndexError):
            for line in (proc / "net" / name).read_text("ascii").splitlines()[1:]:
                words = line.split()
                yield Entry(local=_end(words[1]), remote=_end(words[2]), state=int(words[3], 16), uid=int(words[7]))


def _end(text: str) -> tuple[Address, int]:
    """Words of 32 bits in this machine's order."""
    raw, _, port = text.partition(":")
    whole = b"".join(struct.pack("=I", int(raw[at : at + 8], 16)) for at in range(0, len(raw), 8))
    family = socket.AF_INET if len(whole) == 4 else socket.AF_INET6
    return address(socket.inet_ntop(family, whole)), int(port, 16)


def other_end(sock: socket.socket, proc: Path = PROC) -> Entry | None:
    """Who in this network namespace holds the other end of a connection that was meant for somebody else."""
    try:
        own = (address(sock.getsockname()[0]), int(sock.getsockname()[1]))
        meant = (address(sock.getpeername()[0]), int(sock.getpeername()[1]))
    except OSError:
        return None
    found = (each for each in sockets(proc) if each.remote == own and each.local not in (own, meant))
    return next(found, None)


# --- routes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route: to which network, and by which neighbour; None when what it leads to is itself the neighbour."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    gateway: Address | None


def routes(proc: Path = PROC) -> Iterator[Route]:
    """The main table's. What the kernel could also use (rules, other tables) is not told to everybody."""
    with suppress(OSError, ValueError, IndexError):
        for line in (proc / "net" / "route").read_text("ascii").splitlines()[1:]:
            words = line.split()
            if int(words[3], 16) & _REJECTED:
                continue
            to, gateway, mask = (ipaddress.IPv4Address(struct.pack("=I", int(words[at], 16))) for at in (1, 2, 7))
            yield Route(network=ipaddress.IPv4Network(f"{to}/{mask}"), gateway=gateway if int(gateway) else None)
    with suppress(OSError, ValueError, IndexError):
        for line in (proc / "net" / "ipv6_route").read_text("ascii").splitlines():
            words = line.split()
            if int(words[8], 16) & _REJECTED or words[9] == "lo":
                continue
            net = ipaddress.IPv6Network((bytes.fromhex(words[0]), int(words[1], 16)))
            by = ipaddress.IPv6Address(bytes.fromhex(words[4]))
            yield Route(network=net, gateway=by if int(by) else None)


def settled(proc: Path = PROC) -> bool:
    """Whether every IPv6 address of this place may be used yet: a way that opens in a second looks closed before."""
    try:
        lines = (proc / "net" / "if_inet6").read_text("ascii").splitlines()
        return not any(int(line.split()[4], 16) & _TENTATIVE for line in lines)
    except (OSError, ValueError, IndexError):
        return True  # no IPv6


def gateways(proc: Path = PROC) -> tuple[str, ...]:
    """The neighbours that what is for elsewhere goes by."""
    found = (str(each.gateway) for each in routes(proc) if each.gateway is not None and each.network.prefixlen == 0)
    return tuple(dict.fromkeys(found))


def beyond(to: str, proc: Path = PROC) -> bool:
    """Whether an address is surely not a neighbour's: the narrowest route to it leads by a gateway."""
    meant = address(to)
    if meant.is_loopback or meant.is_link_local:
        return False
    fitting = [each for each in routes(proc) if each.network.version == meant.version and meant in each.network]
    narrowest = max((each.network.prefixlen for each in fitting), default=-1)
    return bool(fitting) and all(each.gateway for each in fitting if each.network.prefixlen == narrowest)
