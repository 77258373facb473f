"""Manifests in plain words on a terminal."""

from collections.abc import Iterable
from datetime import datetime

from proxy.cli.screen import LABEL, WARN, Screen
from proxy.core.model import Bundle, Manifest
from proxy.review.manifestwords import Line, difference_lines, manifest_told
from proxy.review.manifestwords import manifest_json as manifest_json
from proxy.review.manifestwords import texts_of as texts_of


def show_manifest(screen: Screen, manifest: Manifest, bundle: Bundle, *, now: datetime, signed: bool = True) -> None:
    """Everything one link says, each cluster expanded as it was approved. Not `signed` yet, it has no id."""
    told = manifest_told(manifest, bundle, now=now, signed=signed)
    screen.say(told.title, style=LABEL)
    screen.facts(told.facts, indent=2)
    for grant in told.grants:
        screen.say()
        screen.say(f"  Cluster {grant.cluster}", style=LABEL)
        if grant.description:
            screen.paragraph(grant.description, indent=4)
        for line in grant.lines:
            _say(screen, line, indent=4)
    if not told.grants:
        screen.say("  It grants nothing.", style=WARN)


def show_differences(screen: Screen, differences: Iterable[str], *, over: str) -> None:
    """What changes against `over`; what widens stands out."""
    listed = difference_lines(differences)
    screen.say()
    if not listed:
        screen.say(f"Nothing changes against {over} but its dates.")
        return
    screen.say(f"Against {over} it", style=LABEL)
    for line in listed:
        _say(screen, line, indent=2)


def _say(screen: Screen, line: Line, *, indent: int) -> None:
    screen.say(" " * indent + line.text, style=WARN if line.warns else "")
