"""What every Python origin here has in common: its arguments, and one JSON line for each request it parsed."""

import hashlib
import json
import ssl
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path


def options() -> Namespace:
    """`--plain PORT --tls PORT --cert FILE --key FILE --log FILE`."""
    parser = ArgumentParser()
    for name, kind in (("plain", int), ("tls", int), ("cert", str), ("key", str), ("log", Path)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    return parser.parse_args()


def server_context(given: Namespace) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(given.cert, given.key)
    return context


def record(
    log: Path,
    *,
    method: str,
    target: str,
    path: bytes,
    pairs: Iterable[tuple[str, str]],
    headers: Iterable[tuple[str, str]],
    body: bytes,
) -> None:
    """Append what was parsed. `path` is the decoded path as bytes; `headers` as this server hands them out."""
    line = {
        "method": method,
        "target": target,
        "path": path.decode("latin-1"),
        "pairs": [list(pair) for pair in pairs],
        "headers": [[name.lower(), value] for name, value in headers],
        "body_bytes": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }
    with log.open("a", encoding="ascii") as file:
        file.write(json.dumps(line) + "\n")
