"""Manifests in plain words, for whoever signs, carries or checks them; and as JSON. The same words everywhere.

What stands in them is text from outside: whoever shows it makes it harmless for the place where it is shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from proxy.core.describe import describe_cluster
from proxy.core.encoding import Json
from proxy.core.manifest import detail_claims
from proxy.core.model import Bundle, Cluster, Constraints, Grant, Manifest
from proxy.review.times import instant, span, until


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A sentence. `warns`: something is wrong, or more becomes possible."""

    text: str
    warns: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantTold:
    """One granted cluster, expanded as it was approved."""

    cluster: str
    description: str  # may have several lines; "" for none
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestTold:
    """Everything one link says, in the order to read."""

    title: str
    facts: tuple[tuple[str, str], ...]  # label and value; "" where it does not apply
    grants: tuple[GrantTold, ...]


def texts_of(bundle: Bundle) -> Mapping[str, Cluster]:
    """Every cluster text this deployment knows, by digest."""
    return {**bundle.pins, **{cluster.digest: cluster for cluster in bundle.clusters.values()}}


def manifest_told(manifest: Manifest, bundle: Bundle, *, now: datetime, signed: bool = True) -> ManifestTold:
    """One link in words. Not `signed` yet, it has no id."""
    texts = texts_of(bundle)
    kind = "Manifest" if manifest.del_depth == 0 else f"Delegation {manifest.del_depth}"
    return ManifestTold(
        title=f"{kind} for {manifest.sub}",
        facts=(
            ("purpose", manifest.purpose),
            ("answers for it", f"{manifest.sponsor_name} ({manifest.sponsor_id})"),
            ("deployment", manifest.aud),
            ("valid", f"from {instant(manifest.nbf)} for {span(manifest.exp - manifest.nbf)}"),
            ("ends", until(manifest.exp, now)),
            ("delegation", _delegation(manifest)),
            ("acting key", manifest.cnf.kid),
            ("bound to", f"client certificate {manifest.certificate}" if manifest.certificate else ""),
            ("signed with", "a passkey, at the review desk" if manifest.passkey is not None else ""),
            ("id", manifest.id if signed else ""),
        ),
        grants=tuple(
            _grant_told(grant, texts.get(grant.digest), bundle.clusters.get(grant.cluster)) for grant in manifest.grants
        ),
    )


def difference_lines(differences: Iterable[str]) -> tuple[Line, ...]:
    """What changes against another manifest. What widens stands out, and what may: a payee exchanged for another."""
    return tuple(Line(text=line, warns=_widens(line)) for line in differences)


def manifest_json(manifest: Manifest) -> dict[str, Json]:
    """One link as JSON."""
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


def _widens(line: str) -> bool:
    """All but what is plainly less: "changes" is said of what is both, or of which nobody can tell (`core.compare`)."""
    change = line.partition(": ")[2] if line.startswith("cluster ") else line
    return not change.startswith(("removes", "tightens"))


def _grant_told(grant: Grant, approved: Cluster | None, current: Cluster | None) -> GrantTold:
    # What is pinned has no description: nobody signs for it.
    description = "" if approved is None or current is None else current.description
    lines = tuple(_grant_lines(grant, approved, current))
    return GrantTold(cluster=grant.cluster, description=description, lines=lines)


def _grant_lines(grant: Grant, approved: Cluster | None, current: Cluster | None) -> Iterator[Line]:
    if approved is None:
        yield Line(text="What was approved is lost: every call of it is held.", warns=True)
    else:
        yield from (Line(text=line) for line in describe_cluster(approved))
        names = {operation.name for operation in approved.operations}
        granted = "all of these operations" if grant.actions == names else ", ".join(sorted(grant.actions)) or "nothing"
        yield Line(text=f"The agent may: {granted}.")
    yield Line(text=f"Only at: {', '.join(sorted(grant.locations)) or 'no place'}.")
    yield from (Line(text=f"Only with {words}.") for words in _narrowings(grant.constraints))
    if current is None:
        yield Line(text="The cluster no longer exists: nothing of it is permitted.", warns=True)
    elif approved is not None and current.digest != grant.digest:
        text = "It was changed since: only what both texts permit passes; see manifest renew."
        yield Line(text=text, warns=True)


def _narrowings(constraints: Constraints) -> Iterator[str]:
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
