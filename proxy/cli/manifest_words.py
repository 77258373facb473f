"""Manifests in plain words, for whoever signs, carries or checks them; and as JSON."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from proxy.cli.screen import LABEL, WARN, Screen
from proxy.cli.words import instant, span, until
from proxy.core.describe import describe_cluster
from proxy.core.encoding import Json
from proxy.core.manifest import detail_claims
from proxy.core.model import Bundle, Cluster, Constraints, Grant, Manifest


def texts_of(bundle: Bundle) -> Mapping[str, Cluster]:
    """Every cluster text this deployment knows, by digest."""
    return {**bundle.pins, **{cluster.digest: cluster for cluster in bundle.clusters.values()}}


def show_manifest(screen: Screen, manifest: Manifest, bundle: Bundle, *, now: datetime, signed: bool = True) -> None:
    """Everything one link says, each cluster expanded as it was approved. Not `signed` yet, it has no id."""
    texts = texts_of(bundle)
    kind = "Manifest" if manifest.del_depth == 0 else f"Delegation {manifest.del_depth}"
    screen.say(f"{kind} for {manifest.sub}", style=LABEL)
    screen.facts(
        [
            ("purpose", manifest.purpose),
            ("answers for it", f"{manifest.sponsor_name} ({manifest.sponsor_id})"),
            ("deployment", manifest.aud),
            ("valid", f"from {instant(manifest.nbf)} for {span(manifest.exp - manifest.nbf)}"),
            ("ends", until(manifest.exp, now)),
            ("delegation", _delegation(manifest)),
            ("acting key", manifest.cnf.kid),
            ("bound to", f"client certificate {manifest.certificate}" if manifest.certificate else ""),
            ("id", manifest.id if signed else ""),
        ],
        indent=2,
    )
    for grant in manifest.grants:
        _show_grant(screen, grant, texts.get(grant.digest), bundle.clusters.get(grant.cluster))
    if not manifest.grants:
        screen.say("  It grants nothing.", style=WARN)


def show_differences(screen: Screen, differences: Iterable[str], *, over: str) -> None:
    """What changes against `over`; what widens stands out."""
    listed = tuple(differences)
    screen.say()
    if not listed:
        screen.say(f"Nothing changes against {over} but its dates.")
        return
    screen.say(f"Against {over} it", style=LABEL)
    for line in listed:
        wider = line.startswith(("adds", "loosens")) or ": adds" in line or ": loosens" in line
        screen.say(f"  {line}", style=WARN if wider else "")


def manifest_json(manifest: Manifest) -> dict[str, Json]:
    """One link as the command line's JSON has it."""
    return {
        "id": manifest.id,
        "jti": manifest.jti,
        "iss": manifest.iss,
        "agent": manifest.sub,
        "sponsor": manifest.sponsor_id,
        "deployment": manifest.aud,
        "purpose": manifest.purpose,
        "issued_at": instant(manifest.iat),
        "not_before": instant(manifest.nbf),
        "expires_at": instant(manifest.exp),
        "depth": manifest.del_depth,
        "max_depth": manifest.del_max_depth,
        "may_delegate_to": sorted(manifest.may_delegate_to),
        "acting_key": manifest.cnf.kid,
        "certificate": manifest.certificate,
        "grants": [detail_claims(grant) for grant in manifest.grants],
    }


def _show_grant(screen: Screen, grant: Grant, approved: Cluster | None, current: Cluster | None) -> None:
    screen.say()
    screen.say(f"  Cluster {grant.cluster}", style=LABEL)
    if approved is None:
        screen.say("    What was approved is lost: every call of it is held.", style=WARN)
    else:
        if current is not None and current.description:  # what is pinned has none: nobody signs for it
            screen.paragraph(current.description, indent=4)
        for line in describe_cluster(approved):
            screen.say(f"    {line}")
        names = {operation.name for operation in approved.operations}
        granted = "all of these operations" if grant.actions == names else ", ".join(sorted(grant.actions)) or "nothing"
        screen.say(f"    The agent may: {granted}.")
    screen.say(f"    Only at: {', '.join(sorted(grant.locations)) or 'no place'}.")
    for line in _narrowings(grant.constraints):
        screen.say(f"    Only with {line}.")
    if current is None:
        screen.say("    The cluster no longer exists: nothing of it is permitted.", style=WARN)
    elif approved is not None and current.digest != grant.digest:
        screen.say("    It was changed since: only what both texts permit passes; see manifest renew.", style=WARN)


def _narrowings(constraints: Constraints) -> Iterable[str]:
    if constraints.methods is not None:
        yield f"methods {', '.join(sorted(constraints.methods)) or 'none'}"
    for what, values in (
        ("path parameter", constraints.params),
        ("query parameter", constraints.query),
        ("body field", constraints.body),
    ):
        for name in sorted(values):
            yield f"{what} {name} = {' or '.join(sorted(values[name])) or 'nothing'}"


def _delegation(manifest: Manifest) -> str:
    left = manifest.del_max_depth - manifest.del_depth
    if left == 0:
        return "may not be handed on"
    to = f", also to {', '.join(sorted(manifest.may_delegate_to))}" if manifest.may_delegate_to else ""
    return f"may be handed on {'once' if left == 1 else f'{left} times'}{to}"
