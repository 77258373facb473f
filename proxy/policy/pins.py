"""Clusters as sponsors once saw them, kept by digest, so that a later change cannot widen what was approved."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.core.clusters import from_normalised, normalised
from proxy.core.encoding import canonical_json, parse_json
from proxy.core.errors import Code, Rejected
from proxy.core.model import Cluster
from proxy.policy.files import check_directory, entries, read_guarded, read_if_there, write_whole

_MEND = "put the original back, or remove it: then calls under mandates that name it are held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What the directory holds: the good ones by digest, and a line for each that is not what its name says."""

    clusters: Mapping[str, Cluster]
    faults: tuple[str, ...]


def read_pins(directory: Path) -> Pins:
    """Read and re-hash every `<digest>.json`. An absent directory holds nothing; hidden files are passed over.

    Raises:
        Rejected(CONFIG_INVALID): others may write to the directory.
    """
    clusters: dict[str, Cluster] = {}
    faults: list[str] = []
    for path in entries(directory):
        try:
            clusters[path.stem] = _read(path)
        except Rejected as fault:
            faults.append(fault.detail)
    return Pins(clusters=clusters, faults=tuple(faults))


def _read(path: Path) -> Cluster:
    data = read_guarded(path)
    try:
        cluster = from_normalised(parse_json(data, code=Code.BUNDLE_INVALID, what="a pinned cluster"))
    except Rejected as fault:
        raise Rejected(Code.BUNDLE_INVALID, f"{path}: {fault.detail}; {_MEND}") from None
    if path.name != f"{cluster.digest}.json":
        raise Rejected(
            Code.BUNDLE_INVALID, f"{path}: it was changed: its content has the digest {cluster.digest}; {_MEND}"
        )
    return cluster


def write_pins(directory: Path, clusters: Mapping[str, Cluster]) -> None:
    """Keep the present text of every cluster; what is already kept stays.

    Raises:
        Rejected(CONFIG_INVALID): the directory is not safe, or a file could not be written.
    """
    try:
        directory.mkdir(mode=0o755, exist_ok=True)
    except OSError as fault:
        raise Rejected(Code.CONFIG_INVALID, f"{directory}: cannot be made: {fault.strerror}") from None
    check_directory(directory)
    for cluster in clusters.values():
        path = directory / f"{cluster.digest}.json"
        data = canonical_json(normalised(cluster)) + b"\n"
        if read_if_there(path) != data:
            write_whole(path, data)
