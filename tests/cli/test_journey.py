"""The newcomer's way, in processes of their own, by the very commands that `init` prints: six of them from a clone.

`make env` · `init` · `run` · `exec`, or `session new` · the agent's calls · `holds release`.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from certs import Authority
from clirun import cli, free_port, spawn
from origins import Origin

from proxy.cli.exits import Exit
from proxy.stores.embedded import EmbeddedStore


def shell(command: str, cwd: Path) -> "subprocess.Popen[str]":
    """A command as a person types it, with the program on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {name: value for name, value in os.environ.items() if not name.startswith("INTENT_PROXY")}
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=cwd,
        env={**env, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def test_from_nothing_to_a_released_call(tmp_path: Path) -> None:
    authority = Authority()
    ca = authority.write(tmp_path)
    with Origin(tls=authority.server("localhost")) as origin:
        inside, outside = origin.url("/v1/invoices/17", host="localhost"), origin.url("/v1/salaries", host="localhost")
        permit = f"GET {origin.url('/v1/invoices/{id}', host='localhost')}"
        words = ("--upstream-ca", ca, "--listen", f"127.0.0.1:{free_port()}", "--yes", "--json")
        run, behind, watch = spawn("init", "mine", "--allow", permit, *words, cwd=tmp_path).ok().json["next"]
        proxy = shell(f"exec {run}", tmp_path)
        try:
            assert proxy.stdout is not None
            assert "ready on 127.0.0.1:" in proxy.stdout.readline()
            if shutil.which("curl") is not None:
                mark, example = origin.mark(), shell(behind, tmp_path)
                example.communicate(timeout=60)
                assert (example.returncode, len(origin.since(mark).requests)) == (0, 1)
            session = 'eval "$(intent-proxy session new -c mine --agent invoice-bot)"'
            exported, _ = shell(
                f"{session}; env -0 | grep -z -E '^(https_proxy|REQUESTS_CA_BUNDLE)='", tmp_path
            ).communicate()
            variables = dict(pair.split("=", 1) for pair in exported.split("\0") if pair)

            def call(url: str) -> tuple[int, str]:
                """Status and text, the connection closed: an open one would delay the end by ten seconds."""
                proxies, bundle = {"https": variables["https_proxy"]}, variables["REQUESTS_CA_BUNDLE"]
                with requests.get(url, proxies=proxies, verify=bundle, timeout=30) as answer:
                    return answer.status_code, answer.text

            assert call(inside)[0] == 200
            mark = origin.mark()
            status, text = call(outside)
            problem = json.loads(text)
            assert (status, problem["code"]) == (403, "mandate.not_covered")
            assert origin.since(mark).nothing
            watching = shell(f"exec {watch} --json", tmp_path)
            assert watching.stdout is not None
            seen = json.loads(watching.stdout.readline())
            assert (seen["id"], seen["asks"]) == (problem["task"]["id"], f"GET {outside}")
            spawn("holds", "release", seen["id"], "--as", "maria", "-c", tmp_path / "mine").ok()
            assert json.loads(watching.stdout.readline())["state"] == "approved"
            watching.send_signal(signal.SIGTERM)
            watching.communicate(timeout=20)
            assert [call(outside)[0], call(outside)[0]] == [200, 403]
            assert [request.path for request in origin.since(mark).requests] == ["/v1/salaries"]
            spawn("audit", "verify", "-c", tmp_path / "mine").ok()
        finally:
            proxy.send_signal(signal.SIGTERM)
            proxy.communicate(timeout=30)
        assert proxy.returncode == 0
        assert not EmbeddedStore(tmp_path / "mine" / "state").alive()


@pytest.mark.parametrize("way", ["in proxy.yaml", "with --listen"])
def test_a_taken_port_is_one_clear_line_and_nothing_starts(home: Path, way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = home / "proxy.yaml"
        if way == "in proxy.yaml":
            settings.write_text(settings.read_text().replace("127.0.0.1:8080", address))
        ran = cli("run", *(() if way == "in proxy.yaml" else ("--listen", address)))
    assert (ran.code, ran.out) == (Exit.REFUSED, "")
    assert ran.err.count("\n") == 1 and f"{address} is already in use" in ran.err
    assert not (home / "state" / "valkey").exists()


def test_two_proxies_do_not_run_on_one_state_directory(home: Path) -> None:
    state = home / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    with (state / "run.lock").open("w") as lock:
        (state / "run.lock").chmod(0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = cli("run", "--listen", "127.0.0.1:0")
    assert (ran.code, ran.out) == (Exit.REFUSED, "")
    assert ran.err.count("\n") == 1 and f"another intent-proxy runs on {state}" in ran.err
    assert not (state / "valkey").exists()


def test_a_policy_nobody_signed_does_not_run(home: Path) -> None:
    (home / "clusters.yaml").write_text((home / "clusters.yaml").read_text() + "# more\n")
    ran = cli("run")
    assert (ran.code, ran.out) == (Exit.REFUSED, "")
    assert "clusters.yaml: was changed after version 1 was signed" in ran.err
