"""From `desk.oidc` in proxy.yaml to what asks the provider: certificates, the secret, and a desk without it."""

import json
from pathlib import Path

import certs
import pytest
from providers import CLIENT, SECRET, provider

from proxy.cli.deployment import now
from proxy.cli.oidc import oidc_provider
from proxy.core.errors import Rejected, Unavailable
from proxy.policy.settings import Settings, load_settings


def settings(directory: Path, oidc: dict[str, object] | None) -> Settings:
    path = directory / "proxy.yaml"
    desk = "" if oidc is None else f"desk: {json.dumps({'oidc': oidc})}\n"
    path.write_text(f"version: 1\ndeployment: edge\n{desk}")
    path.chmod(0o600)
    return load_settings(path)


def test_without_a_provider_there_is_none(tmp_path: Path) -> None:
    assert oidc_provider(settings(tmp_path, None)) is None


async def test_a_provider_under_a_ca_of_its_own_is_read_with_that_ca_alone(tmp_path: Path) -> None:
    with provider(tmp_path, now=now) as idp:
        about = {"issuer": idp.issuer, "client_id": CLIENT, "ca": str(idp.ca)}
        known = oidc_provider(settings(tmp_path, about))
        assert known is not None
        assert (await known.read()).token_endpoint == f"{idp.issuer}/token" and known.fault == ""
        other = certs.Authority("another").write(tmp_path, "another")
        stranger = oidc_provider(settings(tmp_path, {**about, "ca": str(other)}))
        assert stranger is not None
        with pytest.raises(Unavailable, match=r"certificate that does not count.*desk\.oidc\.ca"):
            await stranger.read()
        assert "certificate" in stranger.fault


async def test_a_secret_that_is_missing_is_told_before_somebody_stands_at_the_door(tmp_path: Path) -> None:
    with provider(tmp_path, now=now) as idp:
        about = {"issuer": idp.issuer, "client_id": CLIENT, "ca": str(idp.ca)}
        found = settings(tmp_path, {**about, "client_secret": {"environment": "OIDC_SECRET"}})
        missing = oidc_provider(found, {})
        assert missing is not None
        with pytest.raises(Rejected, match="OIDC_SECRET is not set"):
            await missing.read()
        assert idp.seen == []
        there = oidc_provider(found, {"OIDC_SECRET": SECRET})
        assert there is not None and (await there.read()).auth_method == "client_secret_basic"


@pytest.mark.parametrize("text", [None, "no certificate"], ids=["missing", "something else"])
def test_a_ca_file_that_is_none_is_refused_in_words(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    found = settings(tmp_path, {"issuer": "https://login.example", "client_id": CLIENT, "ca": "ca.pem"})
    with pytest.raises(Rejected, match=r"desk\.oidc\.ca: .*ca\.pem must be a readable PEM file"):
        oidc_provider(found)


@pytest.mark.parametrize("issuer", ["https://127.0.0.1:1", "http://127.0.0.1:1"])
async def test_a_provider_that_is_not_there_is_told_as_such(tmp_path: Path, issuer: str) -> None:
    known = oidc_provider(settings(tmp_path, {"issuer": issuer, "client_id": CLIENT}))
    assert known is not None
    with pytest.raises(Unavailable, match=r"the provider at 127\.0\.0\.1:1 cannot be reached"):
        await known.read()
