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
from proxy.agent.doctor.fromagent import Questions, from_agent
from proxy.agent.doctor.place import VARIABLES, Lines, Place, find_proxy
from proxy.agent.signer import Signer
from proxy.core.errors import Rejected

HEALTHY, AILING, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

_ABOUT = """\
Find what is wrong where an agent runs. Run it from the agent's place: its machine or container, its user, its
environment. Each line is ok, FAIL with its mend, "?" for what nobody could tell, or "-" for what could not be asked.

It asks whether the proxy can be reached, whether the variables lead to it, whether its CA is trusted here, whether the
clock is right, whether manifest and key fit and for how long, what the agent may do, and whether there is a way to the
Internet around the proxy. For the last it makes one connection, one question for a name and one ping to public
resolvers; --no-around leaves that out.

With --from-agent it is a deployment's own test: it tries every way out that an agent might, asks the proxy for what it
must refuse, and says what this process may do. Then "?" is no pass either. It ends within ten seconds.
"""
_EXAMPLES = """\
Examples:
  intent-proxy doctor --proxy http://127.0.0.1:8080 --manifest robot.jws --key robot.pem --ca ca.pem
  intent-proxy doctor --json          # the proxy from HTTPS_PROXY, with its session
  intent-proxy doctor --from-agent --ca ca.pem --store 10.0.0.3:6379      # may this place count as closed?
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
    made.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, help="to wait for each answer (3; with --from-agent 2)"
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    inside = made.add_argument_group("from the inside, before a deployment counts as ready")
    inside.add_argument(
        "--from-agent", action="store_true", help="prove that there is no way out but the proxy, as the agent's user"
    )
    for option, what in (
        ("--outside", "who answers there, as you know, and must not be reached; instead of public resolvers"),
        ("--store", "the proxy's Redis, which must not be reached"),
        ("--desk", "the review desk, which must not be reached"),
    ):
        inside.add_argument(option, metavar="IP:PORT", type=_end, action="append", default=[], help=what)
    inside.add_argument(
        "--proxy-uid", metavar="UID", type=int, action="append", default=[], help="the proxy's user, not to be this one"
    )
    return made


def main(words: Sequence[str], *, program: str) -> int:
    """Look, print, and return the exit code."""
    try:
        options = parser(program).parse_args(words)
    except SystemExit as end:  # --help, or wrong usage, of which it has told
        return end.code if isinstance(end.code, int) else HEALTHY
    if options.timeout is None:
        options.timeout = 2.0 if options.from_agent else 3.0
    try:
        place = _place(options)
    except Rejected as fault:
        sys.stderr.write(f"{program}: {fault.detail}\n")
        return WRONG_USAGE
    try:
        if options.from_agent:
            findings = tuple(from_agent(place, _questions(options), papers=lambda: look(place, None) if place else ()))
        else:
            assert place is not None
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


def _place(options: argparse.Namespace) -> Place | None:
    """Where the proxy is, as agents know it. From the inside there may be nothing to know: the network leads to it.

    Raises:
        Rejected(CONFIG_INVALID): nobody said where, or what was said is no proxy's URL.
    """
    if options.from_agent and not options.proxy and not any(os.environ.get(name) for name in VARIABLES):
        return None
    proxy, said_by = find_proxy(options.proxy, os.environ)
    return Place(
        proxy=proxy,
        said_by=said_by,
        environment=os.environ,
        manifest=options.manifest,
        key=options.key,
        ca=options.ca,
        timeout_s=options.timeout,
    )


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


def _questions(options: argparse.Namespace) -> Questions:
    return Questions(
        outside=options.outside,
        stores=options.store,
        desks=options.desk,
        proxy_uids=options.proxy_uid,
        resolvers=own_resolvers() if options.resolver is None else options.resolver,
        name=options.question,
        ca=options.ca,
        timeout_s=options.timeout,
    )


def _end(text: str) -> tuple[str, int]:
    """A name would be asked for here, where it means what the proxy's stub says."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!a} is not IP:PORT, such as 10.0.0.3:6379 or [2001:db8::3]:6379")
    return _address(host), int(port)


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
