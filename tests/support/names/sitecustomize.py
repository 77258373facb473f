"""The test network's DNS: with this folder on PYTHONPATH, names in the file `TEST_NAMES` resolve as it says.

The file is JSON, read anew at every look-up: name -> list of addresses, or a list of such lists, of which each look-up
takes the next (rebinding). A name that is not in it does not exist. Instead of a list, "away" is a resolver that cannot
say, and "silent" one that does not answer, as long as the file says so. Every look-up is logged beside the file.
The product knows nothing of this: what is replaced is the C library's answer.
"""

import json
import os
import socket
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

_file = os.environ.get("TEST_NAMES")
_asked: dict[str, int] = {}
_real = socket.getaddrinfo


def _literal(host) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or _literal(name) or name == socket.gethostname():
        return _real(host, port, family, type, proto, flags)
    with suppress(OSError), open(f"{_file}.log", "a") as log:  # noqa: PTH123 - a full disk is no matter of names
        log.write(f"{name}\n")
    answers = json.loads(Path(_file).read_text()).get(name)
    patience_s = time.monotonic() + 10
    while answers == "silent" and time.monotonic() < patience_s:
        time.sleep(0.05)
        answers = json.loads(Path(_file).read_text()).get(name)
    if answers in ("away", "silent"):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    if answers is None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if answers and isinstance(answers[0], list):
        turn = _asked.get(name, 0)
        _asked[name] = turn + 1
        answers = answers[min(turn, len(answers) - 1)]
    return [entry for address in answers for entry in _real(address, port, family, type, proto, flags)]


if _file:
    socket.getaddrinfo = _getaddrinfo
