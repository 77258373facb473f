"""The receivers of a deployment's messages: from proxy.yaml to what serves them."""

import os
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import certifi

from proxy.core.addresses import OwnSurfaces
from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.model import Manifest
from proxy.edge.roots import read_pem
from proxy.edge.secrets import source_of
from proxy.edge.surfaces import own_surfaces
from proxy.policy.chains import kept_manifests
from proxy.policy.settings import Settings
from proxy.policy.webhooks import About, Webhook
from proxy.ports import Vault
from proxy.review.notify.notices import Notice, plain_notice
from proxy.review.notify.noticing import Noticing, Places
from proxy.review.notify.notifier import Notifier
from proxy.review.notify.posting import Postman
from proxy.review.notify.receivers import signing_secret, url_secret
from proxy.review.opened import Reader
from proxy.review.updates import Updates
from proxy.stores.names import SystemResolver
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.redis_marks import RedisMarks
from proxy.stores.redis_proposals import RedisProposals
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
    return await own_surfaces((*places, *([] if desk is None else [desk])), *stores, desk_url=settings.desk.url)


def sample(deployment: str, *, number: str, now: datetime, desk: str = DESK) -> Notice:
    """A message to try a receiver with."""
    text = "This is a sample of intent-proxy: nothing happened."
    return plain_notice(About.SAMPLE, text, number, deployment=deployment, link=desk, now=now)


async def open_notifier(
    settings: Settings,
    *,
    server: RedisServer,
    vault: Vault,
    policy: Callable[[], Policy],
    clock: Callable[[], datetime],
    new_id: Callable[[], str],
    view: Callable[[], ControlView] = ControlView,
    desk: str = DESK,
    desk_listens: tuple[str, int] | None = None,
) -> Notifier:
    """What tells a deployment's receivers; its `run` is for the life of the desk's process.

    `desk` is where people find the desk, without a path; `desk_listens` where it is reached on this machine.

    Raises:
        Rejected(CONFIG_INVALID): a CA file cannot be read.
        Unavailable: the store does not answer.
    """
    webhooks, holds, manifests = settings.desk.webhooks, RedisHolds(server), settings.directory / "manifests"
    updates = open_updates(settings, server=server, policy=policy, clock=clock, new_id=new_id)
    return Notifier(
        webhooks=webhooks,
        noticing=Noticing(
            holds=holds,
            reader=Reader(holds=holds, vault=vault, policy=policy, clock=clock),
            policy=policy,
            clock=clock,
            view=view,
            places=Places(desk=desk),
            manifests=lambda: manifests_at(manifests),
            proposals=updates.listing,
        ),
        postman=postman(settings, await own_places(settings, server, desk=desk_listens)),
        secrets=webhook_secrets(webhooks),
        holds=holds,
        marks=RedisMarks(server),
        clock=clock,
        owner=new_id(),
    )


def open_updates(
    settings: Settings,
    *,
    server: RedisServer,
    policy: Callable[[], Policy],
    clock: Callable[[], datetime],
    new_id: Callable[[], str],
) -> Updates:
    """What is proposed, and where it is kept once its sponsor has signed it."""
    return Updates(
        proposals=RedisProposals(server),
        policy=policy,
        lifetimes=settings.authority,
        manifests=settings.directory / "manifests",
        pins=settings.pinned,
        clock=clock,
        new_id=new_id,
    )


def manifests_at(directory: Path) -> tuple[Manifest, ...]:
    """Every root manifest that `manifest sign` has left there."""
    return tuple(kept.root for kept in kept_manifests(directory))
