"""What a type checker takes `IntentAuth` for. The real one is made for what is installed."""

from proxy.agent import httpx_auth, requests_auth


class IntentAuth(httpx_auth.IntentAuth, requests_auth.IntentAuth):
    """Signs each request of an httpx client or a requests session under a manifest."""
