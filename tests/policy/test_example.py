"""The example: one set of texts for config/ and for `init`."""

import json
import re
from datetime import date
from pathlib import Path

import pytest
from identities import NOW, key
from written import KEYS, deployment

from proxy.core.errors import Code
from proxy.core.keys import ES256, from_jwk
from proxy.core.model import AgentClass, Proof, PublicKey, Risk
from proxy.policy.bundle import load_bundle
from proxy.policy.example import ExampleKeys, example_files, key_line
from proxy.policy.faults import Faults
from proxy.policy.settings import load_settings
from proxy.policy.yaml import load

CONFIG = Path(__file__).parents[2] / "config"


def _committed_keys() -> list[PublicKey]:
    lines = [
        line for name in ("proxy", "people", "agents") for line in (CONFIG / f"{name}.yaml").read_text().splitlines()
    ]
    found = [json.loads(line.strip().removeprefix("- ")) for line in lines if "kty" in line]
    return [from_jwk(item, code=Code.CONFIG_INVALID, field="key") for item in found]


def test_config_is_what_init_would_write_with_other_keys() -> None:
    operator, desk, sponsor, reviewer, agent = _committed_keys()
    keys = ExampleKeys(operator=operator, sponsor=sponsor, reviewer=reviewer, agent=agent, desk=desk)
    for name, text in example_files(keys, certified_until=date(2028, 12, 31)).items():
        assert (CONFIG / name).read_text(encoding="utf-8") == text, name


def test_the_example_tells_the_story_of_an_invoice_bot(tmp_path: Path) -> None:
    bundle = load_bundle(deployment(tmp_path).settings, dev=True, floor=0)
    invoices, payments = bundle.clusters["supplier-invoices"], bundle.clusters["supplier-payments"]
    assert (invoices.risk, invoices.proof) == (Risk.ROUTINE, Proof.SESSION)
    assert (payments.risk, payments.proof, payments.review.always) == (Risk.TRANSFORMATIVE, Proof.REQUEST, False)
    assert {method for item in invoices.operations for method in item.methods} == {"GET"}
    assert {method for item in payments.operations for method in item.methods} == {"POST"}
    agent = bundle.agents["invoice-bot"]
    assert (agent.agent_class, agent.sponsor, agent.keys) == (AgentClass.EMBEDDED, "maria", (KEYS.agent,))
    assert bundle.people["maria"].deputy == "jonas"
    assert bundle.people["maria"].certified_until > NOW


@pytest.mark.parametrize("alg", ["Ed25519", ES256])
def test_a_key_line_is_yaml_and_reads_back(alg: str) -> None:
    public = key("any", alg).public
    line = key_line(public)
    assert load(f"k: {line}".encode(), Faults("f")) is not None
    assert from_jwk(json.loads(line), code=Code.CONFIG_INVALID, field="key") == public


def test_the_name_and_the_address_of_a_deployment_can_be_chosen() -> None:
    text = example_files(KEYS, certified_until=date(2027, 1, 1), deployment="mine", listen="127.0.0.1:9090")[
        "proxy.yaml"
    ]
    assert "deployment: mine\n" in text
    assert "listen: 127.0.0.1:9090\n" in text


def test_what_stands_in_comments_can_be_switched_on(tmp_path: Path) -> None:
    """Keys that a beginner does not need stand there behind `#`. Without these the files are right, too."""
    for name in ("proxy.yaml", "clusters.yaml", "people.yaml", "agents.yaml"):
        text = (CONFIG / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(re.sub(r"^( *)#(?=[a-z]+:|  [a-z_-]+:)", r"\1", text, flags=re.MULTILINE))
    settings = load_settings(tmp_path / "proxy.yaml")
    bundle = load_bundle(settings, dev=True, floor=0)
    credential = bundle.clusters["supplier-invoices"].credential
    assert credential is not None and settings.secrets.keys() == {credential.secret}
    assert settings.tls.listen is not None and settings.tls.client_cas
    assert bundle.agents["invoice-bot"].bindings.spiffe
