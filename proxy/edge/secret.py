"""Where a deployment's secret is: in the environment, in the file that its settings name, or in its own state."""

import os
from collections.abc import Mapping
from pathlib import Path

from proxy.policy.settings import Settings
from proxy.stores.keyring import FixedRing, read_keyring_text
from proxy.stores.vault import SecretVault, open_vault

VARIABLE = "INTENT_PROXY_SECRET"


def secret_file(settings: Settings, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file with the secret; None when the environment has it."""
    if environment.get(VARIABLE):
        return None
    return settings.secret_file or settings.state / "secret.key"


def secret_vault(settings: Settings, *, make: bool = True, environment: Mapping[str, str] = os.environ) -> SecretVault:
    """The vault of a deployment. Its own file is made when it is missing, if `make`; one that is named never is.

    Raises:
        Rejected(CONFIG_INVALID): the secret cannot be used, or is missing.
    """
    path = secret_file(settings, environment)
    if path is None:
        return SecretVault(FixedRing(read_keyring_text(environment[VARIABLE], where=f"${VARIABLE}")))
    return open_vault(path, mounted=settings.secret_file is not None, make=make)
