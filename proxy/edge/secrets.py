"""The secrets that clusters may name: from proxy.yaml to where each is read, and what of them is missing."""

import os
import shutil
from collections.abc import Mapping

from proxy.core.errors import Rejected
from proxy.core.model import Bundle
from proxy.policy.faults import instead, shown
from proxy.policy.secrets import SecretSource
from proxy.policy.settings import Settings
from proxy.stores.secrets import COMMAND_PATH, SecretCommand, SecretFile, SecretSources, SecretVariable, Source


def secret_sources(settings: Settings, environment: Mapping[str, str] = os.environ) -> SecretSources:
    """Every secret that proxy.yaml tells of. None of them is read here."""
    return SecretSources({name: source_of(told, environment) for name, told in settings.secrets.items()})


def source_of(told: SecretSource, environment: Mapping[str, str]) -> Source:
    """Where a secret is read, as it is told in proxy.yaml."""
    if told.file is not None:
        return SecretFile(told.file)
    if told.environment is not None:
        return SecretVariable(told.environment, environment)
    kept = {name: environment[name] for name in told.inherits if name in environment}
    return SecretCommand(told.command, every_s=told.every.total_seconds(), environment=kept)


def secret_faults(settings: Settings, bundle: Bundle, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What is missing of the secrets that clusters name, with its place and the mend. No command is run.

    Calls of these clusters are answered with 503 until it is mended; others are not concerned.
    """
    faults: dict[str, None] = {}
    for cluster in bundle.clusters.values():
        if cluster.credential is None:
            continue
        name = cluster.credential.secret
        if name not in settings.secrets:
            mend = instead(name, settings.secrets) if settings.secrets else "; add it under secrets there"
            said = f"there is no secret {shown(name)} in {settings.file.name}{mend}"
            faults[f"{cluster.at.file}:{cluster.at.line}: credential of cluster {shown(cluster.id)}: {said}"] = None
        elif why := _missing(settings.secrets[name], environment):
            faults[f"{settings.place_of_secret(name)}: secrets.{name}: {why}"] = None
    return tuple(faults)


def _missing(told: SecretSource, environment: Mapping[str, str]) -> str:
    if told.command:
        found = shutil.which(told.command[0], path=COMMAND_PATH)
        return "" if found else f"there is no program {shown(told.command[0])} to run; name it with its whole path"
    try:
        source_of(told, environment).current()
    except Rejected as fault:
        return fault.detail
    return ""
