"""A pod of a Kubernetes manifest, run container by container with podman: in its order, with the rights it says.

    with pod(spec, volumes={"config": {...}, "ca": {...}}, network=...) as it:
        it.exec("agent", "python3", "-c", "...")

Stands for the kubelet: init containers to their end, sidecars until their startup probe is content, then the rest, in
one network namespace. Secrets are mounted as there: links to root's files, readable by `fsGroup`. Not here: network
policies, resources, seccomp beyond the runtime's own profile.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from containers import IMAGE, command, podman
from nodes import wait_for

type Spec = Mapping[str, Any]
PAUSE = ("--entrypoint", "python3", IMAGE, "-c", "import signal; signal.sigwait({signal.SIGTERM})")


@dataclass(kw_only=True)
class Pod:
    """The pod's containers, by what the manifest names them."""

    name: str
    spec: Spec
    volumes: Mapping[str, Path]
    started: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)  # what init containers printed

    def start(self) -> None:
        """Everything, in order. A failing init container is an AssertionError with what it said."""
        for each in self.spec["initContainers"]:
            if each.get("restartPolicy") != "Always":
                done = command("podman", "run", "--rm", *self._words(each), check=False)
                assert done.returncode == 0, f"{each['name']}: {done.stdout}\n{done.stderr}"
                self.ended[each["name"]] = done.stdout
                continue
            self.begin(each["name"])
        for each in self.spec["containers"]:
            self.begin(each["name"])

    def begin(self, name: str) -> None:
        """Start a container that stays, and wait for its startup probe."""
        each = self.container(name)
        podman("run", "-d", "--replace", "--name", f"{self.name}-{name}", *self._words(each))
        self.started.append(name)
        probe = each.get("startupProbe")
        if probe is not None:
            words = probe["exec"]["command"]
            wait_for(lambda: self.exec(name, *words, check=False).returncode == 0, f"{name}'s startup", within_s=60)

    def container(self, name: str) -> Spec:
        every = (*self.spec["initContainers"], *self.spec["containers"])
        return next(each for each in every if each["name"] == name)

    def exec(self, name: str, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return command("podman", "exec", f"{self.name}-{name}", *words, check=check)

    def _words(self, each: Spec) -> tuple[str, ...]:
        """A container as its manifest says, as words for `podman run`."""
        group, own = self.spec["securityContext"], each["securityContext"]
        user, of = (str(own.get(key, group.get(key, 0))) for key in ("runAsUser", "runAsGroup"))
        words = ["--network", f"container:{self.name}", "--user", f"{user}:{of}"]
        words += ["--group-add", str(group["fsGroup"])]
        for dropped in own["capabilities"]["drop"]:
            words += ["--cap-drop", dropped]
        for added in own["capabilities"].get("add", ()):
            words += ["--cap-add", added]
        if own["readOnlyRootFilesystem"]:
            words += ["--read-only", "--read-only-tmpfs=false"]
        if not own["allowPrivilegeEscalation"]:
            words += ["--security-opt", "no-new-privileges"]
        for variable in each.get("env", ()):
            words += ["-e", f"{variable['name']}={variable['value']}"]
        for mount in each.get("volumeMounts", ()):
            only = ":ro" if mount.get("readOnly") else ""
            words += ["-v", f"{self.volumes[mount['name']]}:{mount['mountPath']}{only}"]
        program = each.get("command", [])
        words += ["--entrypoint", program[0]] if program else []
        return (*words, IMAGE, *program[1:], *each.get("args", ()))


@contextmanager
def pod(
    template: Spec, *, name: str, network: str, given: Mapping[str, Mapping[str, bytes]], claims: tuple[str, ...]
) -> Iterator[Pod]:
    """The pod of a template, not started yet. `given` is what its secrets and config maps hold, by their names."""
    spec = template["spec"]
    group = spec["securityContext"]["fsGroup"]
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="pod-")))
        folder.chmod(0o755)
        volumes = {}
        for each in (*spec["volumes"], *({"name": claim} for claim in claims)):
            at = volumes[each["name"]] = folder / each["name"]
            source = each.get("secret", {}).get("secretName") or each.get("configMap", {}).get("name")
            _fill(at, given[source] if source else {}, group=group, written=source is None)
        podman("run", "-d", "--name", name, "--network", network, *PAUSE)
        it = Pod(name=name, spec=spec, volumes=volumes)
        try:
            yield it
        finally:
            for container in reversed(it.started):
                podman("rm", "-f", "-t", "2", f"{name}-{container}", check=False)
            podman("rm", "-f", "-t", "1", name, check=False)


def _fill(at: Path, files: Mapping[str, bytes], *, group: int, written: bool) -> None:
    """A volume as the kubelet makes it."""
    at.mkdir()
    if written:
        os.chown(at, 0, group)
        at.chmod(0o2775)
        return
    version = at / "..2026_01_01"
    version.mkdir()
    (at / "..data").symlink_to(version.name)
    for name, content in files.items():
        (version / name).write_bytes(content)
        os.chown(version / name, 0, group)
        (version / name).chmod(0o440)
        (at / name).symlink_to(f"..data/{name}")
    version.chmod(0o755)
    at.chmod(0o755)
