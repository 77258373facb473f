"""The OpenID Connect provider of a deployment's desk: from proxy.yaml to what asks it."""

import os
import ssl
from collections.abc import Mapping

import certifi

from proxy.cli.deployment import now
from proxy.core.errors import Code, Rejected
from proxy.edge.secrets import source_of
from proxy.policy.settings import Settings
from proxy.review.desk.oidc.asking import Asking
from proxy.review.desk.oidc.provider import Provider


def oidc_provider(settings: Settings, environment: Mapping[str, str] = os.environ) -> Provider | None:
    """Who signs people in at the desk. Nothing is asked here.

    Raises:
        Rejected(CONFIG_INVALID): its CA file cannot be read.
    """
    told = settings.desk.oidc
    if told is None:
        return None
    try:
        context = ssl.create_default_context(cafile=told.ca or certifi.where())
    except (OSError, ssl.SSLError):
        detail = f"desk.oidc.ca: {told.ca} must be a readable PEM file with at least one certificate"
        raise Rejected(Code.CONFIG_INVALID, detail, field="desk.oidc") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    source = None if told.client_secret is None else source_of(told.client_secret, environment)
    return Provider(told, ask=Asking(tls=context), secret=None if source is None else source.current, clock=now)
