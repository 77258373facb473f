"""`intent-proxy check`: is the configuration right?"""

import re
from pathlib import Path

from proxy.cli.deployment import open_deployment
from proxy.cli.exits import Exit
from proxy.cli.screen import BAD, GOOD, WARN, Screen, document
from proxy.cli.where import AsJson, Config, find_config
from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.model import Bundle
from proxy.edge.secrets import secret_faults
from proxy.policy.bundle import faults_of, read_floor, verify_bundle

_FAULT = re.compile(r"(?P<file>[^:\n]+)(?::(?P<line>\d+))?: (?P<text>.*)", re.DOTALL)


def check(config: Config = None, as_json: AsJson = False) -> int:
    """Check every configuration file and print all faults at once, each with file and line.

    Whether an operator signed them is said, too, but is no fault: files are
    checked before they are signed. Secrets that clusters name are looked for on
    this machine, and not shown; commands are not run. Exit codes: 0 nothing is
    wrong, 1 something is.

    Examples:
      intent-proxy check
      intent-proxy check --json
    """
    path = find_config(config)
    wrong = faults_of(path)
    faults = wrong or _of_secrets(path)
    if as_json:
        document({"ok": not faults, "faults": [_fault(line) for line in faults], "signature": _signature(path, wrong)})
    elif faults:
        screen = Screen()
        for line in faults:
            screen.say(line, style=BAD)
        screen.note(f"{len(faults)} to mend" if len(faults) > 1 else "one thing to mend")
    else:
        _praise(path)
    return Exit.REFUSED if faults else Exit.OK


def _of_secrets(path: Path) -> tuple[str, ...]:
    deployment = open_deployment(path)
    return secret_faults(deployment.settings, deployment.bundle(dev=True))


def _praise(path: Path) -> None:
    screen = Screen()
    bundle = open_deployment(path).bundle(dev=True)
    screen.say(f"{path.name} and its files are right: {_counts(bundle)}", style=GOOD)
    signature = _signature(path, ())
    screen.note(signature, style="" if signature.startswith("version") else WARN)


def _counts(bundle: Bundle) -> str:
    operations = sum(len(cluster.operations) for cluster in bundle.clusters.values())
    counted = (
        (len(bundle.clusters), "cluster"),
        (operations, "operation"),
        (len(bundle.deny), "deny rule"),
        (len(bundle.agents), "agent"),
        (len(bundle.people), "person"),
    )
    return ", ".join(f"{count} {_plural(name) if count != 1 else name}" for count, name in counted)


def _plural(name: str) -> str:
    return "people" if name == "person" else f"{name}s"


def _signature(path: Path, faults: tuple[str, ...]) -> str:
    """What can be said about the operator's signature: `version 3 is signed`, or why not."""
    if faults:
        return "not looked at"
    settings = open_deployment(path).settings
    try:
        return f"version {verify_bundle(settings, floor=read_floor(settings.state)).version} is signed"
    except Rejected as fault:
        return fault.detail.splitlines()[0]


def _fault(line: str) -> Json:
    found = _FAULT.fullmatch(line)
    if found is None:
        return {"file": None, "line": None, "message": line}
    return {
        "file": found["file"],
        "line": None if found["line"] is None else int(found["line"]),
        "message": found["text"],
    }
