"""A tunnel's proof ends: the connection inside is closed after an answer in good time, so that no call is refused."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import identities
import pytest
import requests
from houses import WAYS
from towns import Town, open_town

from proxy.agent import IntentAuth
from proxy.agent.session import open_session
from proxy.agent.signer import Signer

READ, OUTSIDE = "/v1/invoices/17", "/v1/salaries"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("town"), workers=1) as running:
        yield running


def environment(town: Town, lives_s: int) -> dict[str, str]:
    """Proxies whose tunnels are proven for this long."""
    root = town.house.root(exp=datetime.now(UTC) + timedelta(seconds=lives_s))
    signer = Signer(root, identities.key(identities.AGENT))
    session = open_session("http://{}:{}".format(*town.house.address), signer)
    return dict.fromkeys(("http", "https"), session.proxy_url)


@pytest.mark.parametrize("path", [READ, OUTSIDE], ids=["an origin's answer", "an answer of ours"])
@pytest.mark.parametrize(
    ("lives_s", "closes"), [pytest.param(60, True, id="a minute before its end"), pytest.param(600, False, id="before")]
)
def test_a_tunnel_ends_between_two_calls_before_its_proof(town: Town, path: str, lives_s: int, closes: bool) -> None:
    proxies = environment(town, lives_s)
    answered = requests.get(town.url("tls", path), proxies=proxies, verify=str(town.house.ca), timeout=20)
    assert (answered.headers.get("Connection") == "close") is closes


@pytest.mark.parametrize("way", WAYS)
def test_who_signs_each_call_needs_no_other_tunnel(town: Town, way: str) -> None:
    """Outside a tunnel nothing is inherited, and a signed call's next one is signed, too."""
    root = town.house.root(exp=datetime.now(UTC) + timedelta(seconds=60))
    auth = IntentAuth.of(Signer(root, identities.key(identities.AGENT)))
    proxies = dict.fromkeys(("http", "https"), "http://{}:{}".format(*town.house.address))
    trust = str(town.house.ca)
    answered = requests.get(town.url(way, READ), proxies=proxies, verify=trust, auth=auth, timeout=20)
    assert answered.status_code == 200
    assert "Connection" not in answered.headers
