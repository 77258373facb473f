"""`IntentAuth` for httpx2, the client under the SDKs of OpenAI and Anthropic.

    auth = IntentAuth("invoices.jws", "agent.pem", cluster="language-model", task="T-4711")
    client = anthropic.Anthropic(http_client=httpx2.Client(auth=auth))

Use it only behind the proxy, which takes the manifest off: an origin that is called directly can read it.
"""

import httpx2

from proxy.agent.flow import SigningFlow


class IntentAuth(SigningFlow, httpx2.Auth):
    """Signs each request of a client, or one request, under a manifest."""
