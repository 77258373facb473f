"""What a page of the desk asks a browser for, and what passkey.js sends once its owner touched their authenticator."""

import json
import re
from collections.abc import Mapping
from html import unescape

import httpx
from reviewrooms import hidden, text_of

from proxy.core.encoding import Json, b64u, unb64u
from proxy.core.errors import Code
from proxy.core.passkeys import Assertion


def asked(page: httpx.Response) -> dict[str, Json]:
    """What a page asks the browser for."""
    found = re.search(r'data-passkey(?:-new)?="([^"]*)"', page.text)
    assert found is not None, text_of(page.text)
    options = json.loads(unescape(found[1]))
    assert isinstance(options, dict)
    return options


def challenge(page: httpx.Response) -> bytes:
    return unb64u(str(asked(page)["challenge"]), code=Code.RELEASE_INVALID, field="challenge")


def answer(assertion: Assertion) -> str:
    """As `PublicKeyCredential.toJSON` writes it."""
    response = {
        "authenticatorData": b64u(assertion.authenticator_data),
        "clientDataJSON": b64u(assertion.client_data),
        "signature": b64u(assertion.signature),
        "userHandle": None,
    }
    return credential(assertion.credential, response)


def credential(credential: bytes, response: Mapping[str, object]) -> str:
    about = {"id": b64u(credential), "rawId": b64u(credential), "type": "public-key", "response": response}
    return json.dumps({**about, "authenticatorAttachment": "cross-platform", "clientExtensionResults": {}})


def form_of(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of the page's passkey form."""
    return hidden(page.text[page.text.index("data-passkey") :])
