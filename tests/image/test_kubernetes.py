"""The Kubernetes manifests: valid, closed as they say they are, and the sidecar's pod run for real."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from certs import Authority
from clirun import cli
from containers import IMAGE, command, image, podman
from houses import ROOT
from nodes import wait_for
from pods import Pod, pod

from proxy.policy.settings import load_settings

pytestmark = pytest.mark.system

FOLDER = ROOT / "config" / "kubernetes"
PAGE = ROOT / "docs" / "kubernetes.md"
VARIANTS = ("gateway", "sidecar")
NOT_OBJECTS = ("kustomization.yaml", "settings.yaml")


def objects(*variants: str) -> Iterator[dict[str, Any]]:
    for variant in ("shared", *variants):
        for path in sorted((FOLDER / variant).glob("*.yaml")):
            if path.name not in NOT_OBJECTS:
                yield from yaml.safe_load_all(path.read_text())


def templates(*variants: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in objects(*variants):
        if "template" in each["spec"] if "spec" in each else False:
            yield f"{each['metadata']['namespace']}/{each['metadata']['name']}", each["spec"]["template"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_is_valid_and_every_file_is_applied(variant: str) -> None:
    for each in objects(variant):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    for folder in ("shared", variant):
        named = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())["resources"]
        there = {path.name for path in (FOLDER / folder).glob("*.yaml")} - set(NOT_OBJECTS)
        assert there == {name for name in named if not name.startswith("..")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_container_is_closed_and_one_alone_may_set_rules(variant: str) -> None:
    raised = []
    for name, template in templates(variant):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in (*spec.get("initContainers", ()), *spec["containers"]):
            own = each["securityContext"]
            assert own["capabilities"]["drop"] == ["ALL"] and own["readOnlyRootFilesystem"], (name, each["name"])
            assert own["allowPrivilegeEscalation"] is False and each["resources"]["limits"]["memory"]
            if own["capabilities"].get("add") or own.get("runAsUser") == 0:
                raised.append((each["name"], own["capabilities"]["add"], each in spec.get("initContainers", ())))
    assert raised == ([("rules", ["NET_ADMIN"], True)] if variant == "sidecar" else [])


@pytest.mark.parametrize("variant", VARIANTS)
def test_selectors_find_what_is_there(variant: str) -> None:
    found = list(objects(variant))
    labels = {
        (each["metadata"]["namespace"], *item)
        for each in found
        if "template" in each.get("spec", {})
        for item in each["spec"]["template"]["metadata"]["labels"].items()
    }
    for each in found:
        space = each["metadata"].get("namespace")
        selector = each.get("spec", {}).get("selector") or each.get("spec", {}).get("podSelector") or {}
        for item in selector.get("matchLabels", selector if each["kind"] == "Service" else {}).items():
            assert (space, *item) in labels, (each["kind"], each["metadata"]["name"])
    spaces = {each["metadata"]["name"] for each in found if each["kind"] == "Namespace"}
    assert {each["metadata"]["namespace"] for each in found if "namespace" in each["metadata"]} == spaces
    everywhere = {
        each["metadata"]["namespace"]
        for each in found
        if each["kind"] == "NetworkPolicy"
        and each["metadata"]["name"] == "nothing"
        and each["spec"]["podSelector"] == {}
    }
    assert everywhere == spaces


def run(line: str, folder: Path) -> None:
    """One command of the page, as it stands there."""
    program = shlex.quote(f"{Path(sys.executable).with_name('intent-proxy')}")
    line = line.replace("config/kubernetes", f"{FOLDER}").replace("intent-proxy ", f"{program} ", 1)
    done = subprocess.run(["bash", "-euc", line], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stderr}"


def shown() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def papers(folder: Path, variant: str) -> Path:
    """What the page has one make, by its own commands."""
    local = [line for line in shown() if not line.startswith("kubectl")]
    script = "\n".join(local).replace("kubernetes/gateway/", f"kubernetes/{variant}/")
    run(script, folder)
    return folder / "papers"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_settings_are_valid_and_agree_with_the_manifests(variant: str, tmp_path: Path) -> None:
    made = papers(tmp_path, variant)
    settings = load_settings(made / "proxy.yaml")
    assert settings.redis_url is not None and "PASSWORD" not in settings.redis_url
    assert settings.redis_url.partition("@")[2] == "store.intent-proxy.svc.cluster.local:6379/0"
    ports = {
        port["port"] for each in objects(variant) if each["kind"] == "Service" for port in each["spec"].get("ports", ())
    }
    assert ports == ({6379, 8090, 8443} if variant == "gateway" else {6379, 8090})
    if variant == "gateway":
        assert settings.tls.listen is not None and settings.tls.listen.port == 8443
    else:
        assert [each.port for each in settings.transparent.listen] == [8444]


def test_the_page_names_only_files_and_secrets_that_are_there(tmp_path: Path) -> None:
    made = papers(tmp_path, "gateway")
    there = {path.name for path in made.iterdir()}
    kubectl = [line for line in shown() if line.startswith("kubectl")]
    for line in kubectl:
        for path in re.findall(r"(?:papers|mine)/[\w./-]+", line):
            assert (tmp_path / path).exists(), line
        for path in re.findall(r"config/kubernetes[\w./-]*", line):
            assert (ROOT / path).exists(), line
    assert {"proxy.yaml", "valkey.conf", "secret.key", "ca-key.pem"} <= there
    created = {
        (space, name)
        for line in kubectl
        for space, name in re.findall(r"-n (\S+) create (?:secret generic|configmap) (\S+)", line)
    }
    wanted = {
        (name.partition("/")[0], volume.get("secret", {}).get("secretName") or volume["configMap"]["name"])
        for variant in VARIANTS
        for name, template in templates(variant)
        for volume in template["spec"]["volumes"]
        if "secret" in volume or "configMap" in volume
    }
    assert wanted == created


# --- the sidecar's pod ------------------------------------------------------------------------------------------------

CLUSTERS = (ROOT / "config" / "compose" / "clusters.yaml").read_text()
VALKEY = """
import os, pathlib, sys
pathlib.Path("/tmp/valkey.conf").write_text(sys.argv[1].replace("/data", "/tmp"))
os.execvp("valkey-server", ["valkey-server", "/tmp/valkey.conf"])
"""
ASK = """
import urllib.request, urllib.error
for url in ("https://erp.example:8443/v1/invoices/17", "https://erp.example:8443/v1/payroll/maria"):
    try:
        print(urllib.request.urlopen(url, timeout=5).status)
    except urllib.error.HTTPError as refused:
        print(refused.status)
    except OSError as fault:
        print("no network")
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pod, str]]:
    """The pod, and the container of the server that its agent may ask."""
    image()
    folder = tmp_path_factory.mktemp("cluster")
    made = papers(folder, "sidecar")
    authority = Authority()
    (folder / "server").mkdir()
    certificate, key = authority.server("erp.example").write(folder / "server")
    certificate.rename(folder / "server" / "cert.pem")
    key.rename(folder / "server" / "key.pem")
    (made / "origin-ca.pem").write_bytes(authority.pem)
    agents = folder / "mine" / "agents.yaml"
    agents.write_text(
        agents.read_text().replace("class:", "bindings: {source: [lo 127.0.0.1 invoice-bot]}\n    class:")
    )
    (folder / "mine" / "clusters.yaml").write_text(
        CLUSTERS.replace("risk: routine", "risk: routine\n    proof: source")
    )
    cli("bundle", "sign", "-c", folder / "mine").ok()
    words = ("--agent", "invoice-bot", "--cluster", "supplier-invoices", "--purpose", "Match invoices.", "--yes")
    cli("manifest", "sign", "-c", folder / "mine", *words).ok()
    for name in ("clusters.yaml", "agents.yaml", "bundle.jws", "manifests/invoice-bot.jws"):
        (made / Path(name).name).write_bytes((folder / "mine" / name).read_bytes())
    with (made / "proxy.yaml").open("a") as settings:
        settings.write("upstream_cas: [origin-ca.pem]\n")
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    policy = (
        "proxy.yaml",
        "clusters.yaml",
        "agents.yaml",
        "people.yaml",
        "bundle.jws",
        "origin-ca.pem",
        "invoice-bot.jws",
    )
    secret = ("secret.key", "ca.pem", "ca-key.pem")
    given = {
        "config": {name: files[name] for name in policy},
        "papers": {name: files[name] for name in secret},
        "ca": {"ca.pem": files["ca.pem"]},
    }
    template = dict(templates("sidecar"))["agents/invoice-bot"]
    network, name = f"cluster{os.getpid()}", f"pod{os.getpid()}"
    podman("network", "create", network)
    beside = ("-d", "--network", network, "--cap-drop", "ALL")
    store, erp = f"{name}-store", f"{name}-erp"
    try:
        alias = ("--network-alias", "store.intent-proxy.svc.cluster.local")
        podman(
            "run",
            *beside,
            "--name",
            store,
            *alias,
            "--entrypoint",
            "python3",
            IMAGE,
            "-c",
            VALKEY,
            files["valkey.conf"].decode(),
        )
        for path in (folder / "server", *(folder / "server").iterdir()):
            os.chown(path, 10001, 10001)
        mounts = ("-v", f"{folder / 'server'}:/srv/server:ro", "-v", f"{ROOT / 'config' / 'compose'}:/sample:ro")
        words = (*mounts, "--network-alias", "erp.example", "--entrypoint", "python3", IMAGE)
        podman("run", *beside, "--name", erp, *words, "/sample/server.py", "/srv/server")
        with pod(template, name=name, network=network, given=given, claims=("state",)) as it:
            it.start()
            it.exec("proxy", "intent-proxy", "manifest", "register", "/etc/intent-proxy/invoice-bot.jws")
            yield it, erp
    finally:
        podman("rm", "-f", "-t", "1", store, erp, check=False)
        podman("network", "rm", "-f", network, check=False)


def asked(erp: str) -> list[str]:
    return [line for line in podman("logs", erp).splitlines() if line.startswith("asked")]


def test_the_pod_comes_up_in_its_order_and_its_agent_is_led_to_the_proxy(running: tuple[Pod, str]) -> None:
    it, erp = running
    assert list(it.ended) == ["rules", "papers", "verify"]
    assert it.exec("agent", "python3", "-c", ASK).stdout.split() == ["200", "403"]
    assert asked(erp) == ["asked erp.example:8443 GET /v1/invoices/17"]


def test_the_agent_has_no_privilege_and_no_file_of_the_proxys(running: tuple[Pod, str]) -> None:
    it, _ = running
    text = "import os; print(os.getuid(), [line.split()[1] for line in open('/proc/self/status') if line[:3] == 'Cap'])"
    assert it.exec("agent", "python3", "-c", text).stdout.strip() == f"20001 {['0' * 16] * 5}"
    assert it.exec(
        "agent", "python3", "-c", "import os; print(os.listdir('/var/lib/intent-proxy'))", check=False
    ).returncode


def test_when_the_proxy_is_killed_there_is_no_network_until_it_is_back(running: tuple[Pod, str]) -> None:
    it, erp = running
    before = asked(erp)
    podman("kill", f"{it.name}-proxy")
    assert set(it.exec("agent", "python3", "-c", ASK).stdout.splitlines()) == {"no network"}
    assert asked(erp) == before
    it.begin("proxy")
    wait_for(lambda: it.exec("agent", "python3", "-c", ASK).stdout.split() == ["200", "403"], "service", within_s=30)
    assert command("podman", "exec", f"{it.name}-proxy", "intent-proxy", "health").returncode == 0
