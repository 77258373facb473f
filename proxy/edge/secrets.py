"""The secrets that clusters may name: from proxy.yaml to where each is read, and what of them is missing."""

import os
import shutil
from collections.abc import Iterator, Mapping

from proxy.core.credential import Credential
from proxy.core.errors import Code, Rejected
from proxy.core.injection import fits
from proxy.core.model import Bundle, Cluster
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


def check_secrets_named(settings: Settings, bundle: Bundle) -> None:
    """Reject a bundle that names a secret of which proxy.yaml says nothing.

    Not checked here: whether those of which it does can be read now. That may change at any moment.

    Raises:
        Rejected(CONFIG_INVALID): with the place of each.
    """
    faults = [why for named in _named(bundle) if (why := _unknown(settings, *named))]
    if faults:
        name = settings.file.name
        when = f"{name} is read when the proxy starts: restart it once the secret stands there"
        raise Rejected(Code.CONFIG_INVALID, "\n".join([*faults, when]), field="credential")


def secret_faults(settings: Settings, bundle: Bundle, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What is missing of the secrets that clusters name, with its place and the mend. No command is run.

    Calls of these clusters are answered with 503 until it is mended; others are not concerned.
    """
    faults: dict[str, None] = {}
    for cluster, credential in _named(bundle):
        if unknown := _unknown(settings, cluster, credential):
            faults[unknown] = None
        elif why := _missing(settings.secrets[credential.secret], credential, environment):
            faults[f"{settings.place_of_secret(credential.secret)}: secrets.{credential.secret}: {why}"] = None
    return tuple(faults)


def _named(bundle: Bundle) -> Iterator[tuple[Cluster, Credential]]:
    for cluster in bundle.clusters.values():
        if cluster.credential is not None:
            yield cluster, cluster.credential


def _unknown(settings: Settings, cluster: Cluster, credential: Credential) -> str:
    name = credential.secret
    if name in settings.secrets:
        return ""
    mend = instead(name, settings.secrets) if settings.secrets else "; add it under secrets there"
    said = f"there is no secret {shown(name)} in {settings.file.name}{mend}"
    return f"{cluster.at.file}:{cluster.at.line}: credential of cluster {shown(cluster.id)}: {said}"


def _missing(told: SecretSource, credential: Credential, environment: Mapping[str, str]) -> str:
    if told.command:
        program, path = told.command[0], environment.get("PATH") if "PATH" in told.inherits else None
        found = shutil.which(program, path=path or COMMAND_PATH)
        return "" if found else f"there is no program {shown(program)} to run; name it with its whole path"
    try:
        value = source_of(told, environment).current()
    except Rejected as fault:
        return fault.detail
    return "" if fits(credential, value) else "it has a space in it, so it is no bearer token; set it as a header"
