"""Programs as deployments start them: another user, no capability at all, and none to be gained.

    host.run(*bare(20001, sys.executable, "-m", "proxy.agent.doctor", resolver="10.77.1.2"))

The interpreter may lie where only root reads: there the way to it is laid anew, in a mount namespace of its own.
"""

import shlex
import sys
from pathlib import Path

from houses import ROOT

NONE = "--inh-caps=-all --ambient-caps=-all --bounding-set=-all --no-new-privs"
"""What containers get with every capability dropped."""


def bare(user: int, *words: object, resolver: str = "", privileges: str = NONE, **variables: object) -> list[str]:
    """The whole command; `resolver` is the place's one name server, `variables` its whole environment."""
    script = [*_opened([Path(sys.base_prefix), Path(sys.prefix), ROOT])]
    conf = f"nameserver {resolver}\n" if resolver else ""
    script.append(f"printf %s {shlex.quote(conf)} > $T/resolv.conf && mount --bind $T/resolv.conf /etc/resolv.conf")
    script.append(f"cd {ROOT}")
    become = f"setpriv --reuid {user} --regid {user} --clear-groups {privileges}" if user or privileges else ""
    given = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin", **variables}
    shown = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in given.items())
    script.append(f"exec env -i {shown} {become} {shlex.join(map(str, words))}")
    return ["unshare", "--mount", "sh", "-ec", "\n".join(["T=/mnt", "mount -t tmpfs -o mode=755 t $T", *script])]


def _opened(paths: list[Path]) -> list[str]:
    """Lines that make each path readable for everybody, where some folder above it is closed."""
    lines: list[str] = []
    shut: dict[Path, list[Path]] = {}
    for path in dict.fromkeys(each.resolve() for each in paths):
        closed = [each for each in reversed(path.parents) if not each.stat().st_mode & 0o001]
        if closed:
            shut.setdefault(closed[0], []).append(path)
    for top, below in shut.items():
        for at, path in enumerate(below):
            lines.append(f"mkdir $T/{len(lines)} && mount --bind {path} $T/{len(lines)} && P{at}=$T/{len(lines)}")
        lines.append(f"mount -t tmpfs -o mode=755 t {top}")
        lines += [f"mkdir -p {path} && mount --bind $P{at} {path}" for at, path in enumerate(below)]
    return lines
