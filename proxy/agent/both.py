"""`IntentAuth` where httpx and requests are both installed: one object for either."""

from proxy.agent import httpx_auth, requests_auth


class IntentAuth(httpx_auth.IntentAuth, requests_auth.IntentAuth):
    """Signs each request of an httpx client or a requests session under a manifest."""
