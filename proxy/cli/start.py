"""The program's door. Where only the base distribution is installed, the doctor is all that comes through."""

import sys
from importlib import import_module

from proxy.agent.doctor import program

_DOCTOR = "doctor"
WRONG_USAGE = 2


def main() -> int:
    """Run the command line; with the base distribution alone only `intent-proxy doctor`."""
    try:
        everything = import_module("proxy.cli.main")
    except ModuleNotFoundError as missing:
        if sys.argv[1:2] == [_DOCTOR]:
            return program.main(sys.argv[2:], program=f"intent-proxy {_DOCTOR}")
        wanted = (
            "only `intent-proxy doctor` runs here; for exec and sidecar install intent-proxy[sidecar], "
            "for everything intent-proxy[server]"
        )
        sys.stderr.write(f"intent-proxy: {missing.name} is not installed, so {wanted}\n")
        return WRONG_USAGE
    code: int = everything.main()
    return code
