"""The receivers of a deployment's messages: from proxy.yaml to what serves them."""

import os
import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import certifi

from proxy.core.addresses import OwnSurfaces
from proxy.core.model import Manifest
from proxy.edge.parts import own_surfaces
from proxy.edge.roots import read_pem
from proxy.edge.secrets import source_of
from proxy.policy.chains import kept_manifests
from proxy.policy.settings import Settings
from proxy.policy.webhooks import About, Webhook
from proxy.review.notify.notices import Notice, plain_notice
from proxy.review.notify.posting import Postman
from proxy.review.notify.receivers import signing_secret, url_secret
from proxy.stores.names import SystemResolver
from proxy.stores.redis import RedisServer
from proxy.stores.secrets import SecretSources

DESK = "http://localhost:8090"
"""Where people find the desk, unless its settings say otherwise."""


def webhook_secrets(webhooks: tuple[Webhook, ...], environment: Mapping[str, str] = os.environ) -> SecretSources:
    """The secrets of these receivers, by the names under which they are asked for. None of them is read here."""
    told = {url_secret(each): each.url_from for each in webhooks}
    told |= {signing_secret(each): each.secret for each in webhooks}
    return SecretSources({name: source_of(place, environment) for name, place in told.items() if place is not None})


def postman(settings: Settings, own: OwnSurfaces) -> Postman:
    """Whoever posts messages: trusts what the proxy trusts for upstream, and reaches nothing of the proxy itself.

    Raises:
        Rejected(CONFIG_INVALID): a CA file cannot be read.
    """
    context = ssl.create_default_context(cafile=certifi.where())
    for path in settings.upstream_cas:
        read_pem(path)
        context.load_verify_locations(cafile=path)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return Postman(resolver=SystemResolver(), tls=context, own=own)


async def own_places(settings: Settings, *stores: RedisServer, desk: tuple[str, int] | None = None) -> OwnSurfaces:
    """Where the proxy, its desk and its stores are."""
    listens = (settings.listen, *([] if settings.tls.listen is None else [settings.tls.listen]))
    places = tuple((each.host, each.port) for each in listens)
    return await own_surfaces((*places, *([] if desk is None else [desk])), *stores)


def sample(deployment: str, *, number: str, now: datetime, desk: str = DESK) -> Notice:
    """A message to try a receiver with."""
    text = "This is a sample of intent-proxy: nothing happened."
    return plain_notice(About.SAMPLE, text, number, deployment=deployment, link=desk, now=now)


def manifests_at(directory: Path) -> tuple[Manifest, ...]:
    """Every root manifest that `manifest sign` has left there."""
    return tuple(kept.root for kept in kept_manifests(directory))
