"""`IntentAuth` for httpx: a fresh signature for every attempt, in sync and async clients.

    auth = IntentAuth("invoices.jws", "agent.pem", cluster="supplier-invoices", task="T-4711")
    client = httpx.Client(auth=auth)
    client.post(url, json=payload, auth=auth.declaring(task="T-4712"))

Use it only behind the proxy, which takes the manifest off: an origin that is called directly can read it.
"""

import httpx

from proxy.agent.flow import SigningFlow


class IntentAuth(SigningFlow, httpx.Auth):
    """Signs each request of a client, or one request, under a manifest."""
