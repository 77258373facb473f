"""Runs the proxy of one proxy.yaml: `run_house.py CONFIG WORKERS PORT`.

Prints "ready HOST:PORT" once it serves, and then the address of TLS alone, if there is one.
"""

import asyncio
import logging
import sys
from pathlib import Path

from proxy.core.errors import Rejected, Unavailable
from proxy.edge.run import Ready, run_proxy


def _say(ready: Ready) -> None:
    addresses = [(ready.host, ready.port), *filter(None, [ready.tls])]
    print("ready", *(f"{host}:{port}" for host, port in addresses), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    config, workers, port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    try:
        code = asyncio.run(
            run_proxy(
                config,
                workers=workers,
                listen=("127.0.0.1", port),
                dev=False,
                on_ready=_say,
            )
        )
    except (Rejected, Unavailable) as fault:
        print(f"intent-proxy: {fault.detail}", file=sys.stderr)
        code = 1
    sys.exit(code)
