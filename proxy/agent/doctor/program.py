"""The doctor's command line: one place for it, whoever starts it."""

import argparse
import ipaddress
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from proxy.agent.doctor import papers, proxyside
from proxy.agent.doctor.around import ADDRESSES_4, ADDRESSES_6, QUESTION, Targets, around, own_resolvers
from proxy.agent.doctor.findings import Finding, as_json, as_text, skip
from proxy.agent.doctor.place import Lines, Place, find_proxy
from proxy.agent.signer import Signer
from proxy.core.errors import Rejected

HEALTHY, AILING, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

_ABOUT = """\
Find what is wrong where an agent runs. Run it from the agent's place: its machine or container, its user, its
environment. Each line is ok, FAIL with its mend, or "-" for what could not be asked.

It asks whether the proxy can be reached, whether the variables lead to it, whether its CA is trusted here, whether the
clock is right, whether manifest and key fit and for how long, what the agent may do, and whether there is a way to the
Internet around the proxy. For the last it makes one connection, one question for a name and one ping to public
resolvers; --no-around leaves that out.
"""
_EXAMPLES = """\
Examples:
  intent-proxy doctor --proxy http://127.0.0.1:8080 --manifest robot.jws --key robot.pem --ca ca.pem
  intent-proxy doctor --json          # the proxy from HTTPS_PROXY, with its session
  python -m proxy.agent.doctor        # the same, where only the base distribution is installed

Exit codes: 0 nothing fails, 1 something does, 2 wrong usage.
"""


def parser(program: str) -> argparse.ArgumentParser:
    """What may be said on the command line."""
    made = argparse.ArgumentParser(
        prog=program, description=_ABOUT, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--proxy", metavar="URL", help="the proxy, http://HOST:PORT; else from HTTPS_PROXY and its like")
    made.add_argument("--manifest", metavar="FILE", type=Path, help="the agent's manifest")
    made.add_argument("--key", metavar="FILE", type=Path, help="the key that the manifest names")
    made.add_argument("--ca", metavar="FILE", type=Path, help="the proxy's CA, as the agent's program is given it")
    made.add_argument("--no-around", action="store_true", help="do not look for ways around the proxy")
    made.add_argument(
        "--address",
        metavar="IP",
        type=_address,
        action="append",
        help="what to look for a way to, instead of public resolvers",
    )
    made.add_argument(
        "--resolver",
        metavar="IP",
        type=_address,
        action="append",
        help="a name server to ask, instead of those of this place",
    )
    made.add_argument(
        "--question", metavar="NAME", type=_name, default=QUESTION, help=f"the name to ask for ({QUESTION})"
    )
    made.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=3.0, help="to wait for each answer (3)")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def main(words: Sequence[str], *, program: str) -> int:
    """Look, print, and return the exit code."""
    try:
        options = parser(program).parse_args(words)
    except SystemExit as end:  # --help, or wrong usage, of which it has told
        return end.code if isinstance(end.code, int) else HEALTHY
    try:
        proxy, said_by = find_proxy(options.proxy, os.environ)
    except Rejected as fault:
        sys.stderr.write(f"{program}: {fault.detail}\n")
        return WRONG_USAGE
    place = Place(
        proxy=proxy,
        said_by=said_by,
        environment=os.environ,
        manifest=options.manifest,
        key=options.key,
        ca=options.ca,
        timeout_s=options.timeout,
    )
    try:
        findings = tuple(look(place, None if options.no_around else _targets(options)))
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: stopped\n")
        return INTERRUPTED
    if options.json:
        sys.stdout.write(as_json(findings))
    else:
        colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        sys.stdout.write(as_text(findings, colours=colours))
    return AILING if any(each.fails for each in findings) else HEALTHY


def look(place: Place, targets: Targets | None) -> Iterator[Finding]:
    """Every finding, in the order in which one would mend them."""
    found, reached = proxyside.reach(place)
    yield found
    yield proxyside.environment(place)
    yield skip("clock", "the proxy has to say what time it is") if reached is None else proxyside.clock(reached)
    told, last = papers.manifest(place, reached.deployment if reached else None, now=papers.now())
    yield told
    said, private = papers.key(place, last)
    yield said
    usable = None if told.fails else private
    signer, unsigned = papers.proof(place, usable)
    if reached is None:
        yield skip("CA", "the proxy has to show its certificate")
        yield skip("mandate", "the proxy has to say what it permits")
    else:
        yield from proxyside.certificates(place, lambda: _tunnel_proof(place, signer))
        if told.fails or said.fails:
            yield skip("mandate", "manifest and key come first")
        else:
            yield unsigned or papers.mandate(place, signer)
    if targets is not None:
        yield from around(targets, proxy=place.where)


def _tunnel_proof(place: Place, signer: Signer | None) -> Lines:
    """Fresh proof for one tunnel, by whatever there is."""
    try:
        return place.session if signer is None else signer.connect_headers(proxyside.TUNNEL)
    except Rejected:  # the manifest ended just now
        return ()


def _targets(options: argparse.Namespace) -> Targets:
    named: list[str] = options.address or [*ADDRESSES_4, *ADDRESSES_6]
    resolvers: list[str] | None = options.resolver
    return Targets(
        addresses_4=tuple(each for each in named if ":" not in each),
        addresses_6=tuple(each for each in named if ":" in each),
        resolvers=own_resolvers() if resolvers is None else tuple(resolvers),
        question=options.question,
        timeout_s=options.timeout,
    )


def _address(text: str) -> str:
    """One that is none would be a way that was never tried, and so looks closed."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!a} is no IP address") from None


def _name(text: str) -> str:
    try:
        return text.rstrip(".").encode("idna").decode("ascii")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!a} is no name that can be asked for") from None


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 60:
        raise argparse.ArgumentTypeError("from 0.1 to 60 seconds")
    return seconds
