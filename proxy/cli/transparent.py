"""`intent-proxy transparent`: packet rules that leave an agent no way out but through the proxy."""

import enum
from typing import Annotated

import typer

from proxy.core import iptables, nftables
from proxy.core.errors import Code, Rejected
from proxy.core.netrules import DNS_PORT, LISTEN_PORT, Arrangement, Gateway, Sidecar
from proxy.edge import rules as kernel

app = typer.Typer(
    help="Packet rules: no way out for agents but through the proxy (docs/rules.md).", no_args_is_help=True
)


class Kind(enum.StrEnum):
    """Which arrangement."""

    GATEWAY = "gateway"
    SIDECAR = "sidecar"


As = Annotated[
    Kind, typer.Argument(help="gateway: this host stands before agents; sidecar: it shares their network namespace.")
]
Uid = Annotated[int, typer.Option("--uid", help="The uid that the proxy runs as: the only one that gets out.")]
From = Annotated[
    list[str] | None, typer.Option("--from", metavar="INTERFACE", help="gateway: where agents are; repeatable.")
]
Listen = Annotated[int, typer.Option("--listen-port", help="The transparent listener's port.")]
Dns = Annotated[int, typer.Option("--dns-port", help="The DNS stub's port.")]
Explicit = Annotated[
    list[int] | None,
    typer.Option(
        "--explicit-port", metavar="PORT", help="A port of the proxy that agents may use by name; repeatable."
    ),
]
Closed = Annotated[
    list[int] | None,
    typer.Option("--closed-port", metavar="PORT", help="sidecar: another's port on loopback to keep shut; repeatable."),
]
Inbound = Annotated[
    list[int] | None,
    typer.Option("--inbound-port", metavar="PORT", help="sidecar: where others may reach the agent; repeatable."),
]
Legacy = Annotated[bool, typer.Option("--iptables", help="By iptables and ip6tables instead of nft.")]


@app.command()
def rules(
    kind: As,
    uid: Uid,
    inside: From = None,
    listen_port: Listen = LISTEN_PORT,
    dns_port: Dns = DNS_PORT,
    explicit: Explicit = None,
    closed: Closed = None,
    inbound: Inbound = None,
    legacy: Legacy = False,
) -> None:
    """Print the rules, and change nothing.

    Examples:
      intent-proxy transparent rules sidecar --uid 10001
      intent-proxy transparent rules gateway --uid 10001 --from eth1 --iptables
    """
    meant = _arrangement(kind, uid, inside, listen_port, dns_port, explicit, closed, inbound)
    if not legacy:
        typer.echo(nftables.ruleset(meant), nl=False)
        return
    for six in (False, True):
        typer.echo(f"# for ip{'6' if six else ''}tables-restore --noflush")
        typer.echo(iptables.ruleset(meant, six=six), nl=False)


@app.command()
def apply(
    kind: As,
    uid: Uid,
    inside: From = None,
    listen_port: Listen = LISTEN_PORT,
    dns_port: Dns = DNS_PORT,
    explicit: Explicit = None,
    closed: Closed = None,
    inbound: Inbound = None,
    legacy: Legacy = False,
) -> None:
    """Put the rules in force in this network namespace, in place of those put there before, and read them back.

    It needs CAP_NET_ADMIN here, and only while it runs. What drops comes first:
    if anything fails, agents have no network rather than an open one. The rules
    stay when the proxy ends.

    Examples:
      intent-proxy transparent apply sidecar --uid 10001
      intent-proxy transparent apply gateway --uid 10001 --from eth1 --explicit-port 8080
    """
    meant = _arrangement(kind, uid, inside, listen_port, dns_port, explicit, closed, inbound)
    kernel.apply(meant, legacy=legacy)
    typer.echo(f"The rules of a {kind} are in force: uid {uid} alone gets out.")


@app.command()
def remove(kind: As, legacy: Legacy = False) -> None:
    """Take away what apply put there: agents have the network they had before. Other rules are not touched.

    Example:
      intent-proxy transparent remove sidecar
    """
    kernel.remove(Gateway if kind is Kind.GATEWAY else Sidecar, legacy=legacy)
    typer.echo(f"The rules of a {kind} are gone: nothing here keeps agents from the network.")


def _arrangement(
    kind: Kind,
    uid: int,
    inside: list[str] | None,
    listen_port: int,
    dns_port: int,
    explicit: list[int] | None,
    closed: list[int] | None,
    inbound: list[int] | None,
) -> Arrangement:
    if kind is Kind.GATEWAY:
        if closed or inbound:
            raise Rejected(Code.CONFIG_INVALID, "--closed-port and --inbound-port are for a sidecar: leave them out")
        return Gateway(
            uid=uid,
            inside=tuple(inside or ()),
            listen_port=listen_port,
            dns_port=dns_port,
            explicit_ports=tuple(explicit or ()),
        )
    if inside:
        raise Rejected(Code.CONFIG_INVALID, "--from is for a gateway: a sidecar's agent has no interface of its own")
    return Sidecar(
        uid=uid,
        listen_port=listen_port,
        dns_port=dns_port,
        explicit_ports=tuple(explicit or ()),
        closed_ports=tuple(closed or ()),
        inbound_ports=tuple(inbound or ()),
    )
