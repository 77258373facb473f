"""This node: its name, the key it signs its journal with, and its policy. Light, for the review desk needs it, too."""

import re
import socket
from pathlib import Path

from proxy.agent.keyfile import load_key, new_key
from proxy.core.clusters import Policy, compile_policy
from proxy.core.keys import PrivateKey
from proxy.edge.secrets import check_secrets_named
from proxy.policy.bundle import load_bundle, read_floor, write_floor
from proxy.policy.settings import Settings
from proxy.stores.files import private_dir


def load_policy(settings: Settings, *, dev: bool) -> Policy:
    """The bundle in force, compiled; its version becomes the lowest this node accepts from now on.

    Raises:
        Rejected: it is not valid, not signed as it should be, names a secret that this node has not been told of, or is
            older than one this node has seen.
    """
    state = private_dir(settings.state)
    bundle = load_bundle(settings, dev=dev, floor=read_floor(state))
    check_secrets_named(settings, bundle)
    policy = compile_policy(bundle)
    if bundle.signed:
        write_floor(state, bundle.version)
    return policy


def node_identity(state: Path) -> PrivateKey:
    """The key this node signs its journal with, made on first start."""
    path = state / "node.key"
    return load_key(path) if path.exists() else new_key(path)


def node_name() -> str:
    """This machine's name, in the characters a journal file may bear."""
    plain = re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip("-.")
    return plain[:40] or "node"
