"""What `sidecar` and `exec` have in common: whose manifest and key, which proxy, and what it is trusted by.

Only a deployment that is named needs the server's libraries; with files named, the extra `sidecar` is enough.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.authority import Authority, load_authority
from proxy.agent.sidecar.asking import fetch_ca
from proxy.agent.sidecar.bodies import Room
from proxy.agent.sidecar.route import Route
from proxy.agent.sidecar.server import Sidecar
from proxy.agent.sidecar.trust import Presenter
from proxy.agent.signer import Signer
from proxy.core.errors import Code, Rejected

Agent = Annotated[
    str | None,
    typer.Option(help="The agent: its manifest, key and proxy are looked for in the deployment.", show_default=False),
]
Manifest = Annotated[
    Path | None, typer.Option(help="The manifest, or a chain of them. Else --agent's.", show_default=False)
]
Key = Annotated[
    Path | None, typer.Option(help="The key that the last manifest names. Else --agent's.", show_default=False)
]
Proxy = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The proxy, http(s)://HOST:PORT. Else the deployment's own.", show_default=False),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        help="The proxy's CA. Else the deployment's, else the proxy is asked, over TLS or loopback.", show_default=False
    ),
]
Cluster = Annotated[str | None, typer.Option(help="The task cluster to declare with every call.", show_default=False)]
Task = Annotated[str | None, typer.Option(help="The task to declare with every call.", show_default=False)]
MaxBody = Annotated[
    int, typer.Option(metavar="MIB", min=1, max=65_536, help="The largest body to sign; it waits on disk for its end.")
]


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where everything is."""

    manifest: Path
    key: Path
    proxy: str
    ca: Path | None
    secrets: frozenset[str] = frozenset()  # variables from which the deployment takes credentials


def find(
    config: Path | None,
    *,
    agent: str | None,
    manifest: Path | None,
    key: Path | None,
    proxy: str | None,
    ca: Path | None,
) -> Place:
    """What was named, and for the rest what the deployment has.

    Raises:
        Rejected(CONFIG_INVALID): there is no deployment, or the agent has no manifest there.
        typer.BadParameter: the agent is needed and not named, or the files are, because no deployment can be read here.
    """
    if manifest and key and proxy:
        return Place(manifest=manifest, key=key, proxy=proxy, ca=ca)
    try:
        from proxy.cli.deployment import open_deployment  # noqa: PLC0415 (it needs the server's libraries)
    except ModuleNotFoundError:
        detail = (
            "name --manifest, --key and --proxy, all of them: a deployment is read only where intent-proxy[server] is"
        )
        raise typer.BadParameter(detail) from None

    deployment = open_deployment(config)
    if agent is None and not (manifest and key):
        what = "key" if manifest else "manifest"
        raise typer.BadParameter(f"name the agent with --agent, or the {what} with --{what}")
    if agent is not None:
        its_manifest, its_key = deployment.papers_of(agent)
        manifest, key = manifest or its_manifest, key or its_key
    assert manifest is not None and key is not None
    return Place(
        manifest=manifest,
        key=key,
        proxy=proxy or f"http://{deployment.settings.listen}",
        ca=ca or deployment.settings.state / "ca" / "ca.pem",
        secrets=frozenset(filter(None, (each.environment for each in deployment.settings.secrets.values()))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A sidecar that is ready to serve, and what programs must trust to go through it."""

    sidecar: Sidecar
    route: Route
    signer: Signer
    certificates: bytes


async def prepare(
    place: Place,
    *,
    cluster: str | None,
    task: str | None,
    authority: Authority | None,
    secret: str | None,
    max_body_mib: int,
) -> Beside:
    """Read manifest and key, and learn whom to trust. With an `authority`, calls inside TLS are signed, too.

    Raises:
        Rejected: one of the files is wrong.
        Unavailable: the proxy's CA must be asked for, and the proxy does not answer.
    """
    signer = Signer(place.manifest, place.key, cluster=cluster, task=task)
    route = Route(place.proxy, ca_file=str(place.ca) if place.ca is not None else None)
    theirs = _read(place.ca) if place.ca is not None else await fetch_ca(route)
    route.trust(theirs)
    sidecar = Sidecar(
        route,
        signer,
        presenter=Presenter(authority, clock=now) if authority is not None else None,
        secret=secret,
        room=Room(each=max_body_mib << 20),
    )
    ours = authority.pem() if authority is not None else b""
    return Beside(sidecar=sidecar, route=route, signer=signer, certificates=ours + theirs)


def own_authority(folder: Path) -> Authority:
    """The sidecar's CA in `folder`, made there if there is none.

    Raises:
        Rejected(CONFIG_INVALID): as `load_authority`.
    """
    return load_authority(folder, deployment="a sidecar", now=now())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise Rejected(
            Code.CONFIG_INVALID, f"the proxy's CA {path} cannot be read: {fault.strerror}", field="ca"
        ) from None
