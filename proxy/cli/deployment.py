"""Which deployment a command works on, and what of it commands need: found and read the same way by all of them."""

import base64
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proxy.cli.where import find_config
from proxy.core.encoding import b64u
from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle
from proxy.policy.bundle import load_bundle, read_floor
from proxy.policy.faults import instead, shown
from proxy.policy.settings import Settings, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment's settings and the places that follow from them."""

    settings: Settings

    @property
    def keys(self) -> Path:
        """Where `init` puts private keys."""
        return self.settings.directory / "keys"

    @property
    def manifests(self) -> Path:
        return self.settings.directory / "manifests"

    def manifest_file(self, agent: str) -> Path:
        return self.manifests / f"{agent}.jws"

    def papers_of(self, agent: str) -> tuple[Path, Path]:
        """An agent's manifest and key, where `init` and `manifest sign` put them. Not checked here: the key.

        Raises:
            Rejected(CONFIG_INVALID): it has no manifest; the nearest agent that has is named.
        """
        manifest = self.manifest_file(agent)
        if not manifest.exists():
            known = instead(agent, (path.stem for path in self.manifests.glob("*.jws")))
            detail = f"{self.manifests} has no manifest of an agent {shown(agent)}"
            raise Rejected(Code.CONFIG_INVALID, f"{detail}{known or ': sign one with intent-proxy manifest sign'}")
        return manifest, self.keys / f"{agent}.pem"

    def bundle(self, *, dev: bool = False) -> Bundle:
        """The policy as an operator signed it; as it stands with `dev`, or where no operator is named to sign it.

        Raises:
            Rejected: as `load_bundle`.
        """
        unsigned = dev or not self.settings.operators
        return load_bundle(self.settings, dev=unsigned, floor=read_floor(self.settings.state))


def open_deployment(config: Path | None) -> Deployment:
    """The deployment a command was told to work on.

    Raises:
        Rejected(CONFIG_INVALID): there is none, or its proxy.yaml is wrong.
    """
    return Deployment(settings=load_settings(find_config(config)))


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


def this_second() -> datetime:
    """This moment, UTC, in whole seconds: what a signed document can say."""
    return now().replace(microsecond=0)


def new_id() -> str:
    """120 random bits as lower-case letters and digits, as holds are named."""
    return base64.b32encode(os.urandom(15)).decode("ascii").lower()


def nonce() -> str:
    """128 random bits in base64url."""
    return b64u(os.urandom(16))
