"""Files of manifests: one compact JWS, or a chain of them, root first."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.core.errors import Code, Rejected
from proxy.core.manifest import parse_manifest
from proxy.core.model import Manifest
from proxy.core.proof import read_chain
from proxy.core.verify import Lifetimes
from proxy.policy.files import write_whole

_MAX_BYTES = 131_072

MOST_KEPT = 2_000
"""So many files of a directory are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptManifest:
    """A root manifest in a file. Nothing in it is verified."""

    file: Path
    root: Manifest


def kept_manifests(directory: Path) -> tuple[KeptManifest, ...]:
    """The root manifests in the `*.jws` of a directory, by name; what is none is passed over, and none may be there."""
    found: list[KeptManifest] = []
    for path in sorted(directory.glob("*.jws"))[:MOST_KEPT]:
        with suppress(Rejected):
            found.append(KeptManifest(file=path, root=read_links(path)[0]))
    return tuple(found)


def read_chain_file(path: Path) -> tuple[str, ...]:
    """The tokens in a file, root first, separated by commas or white space.

    Raises:
        Rejected(MANIFEST_MALFORMED): the file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii")
    except FileNotFoundError:
        detail = f"there is no manifest {path}; make one with intent-proxy manifest sign"
        raise Rejected(Code.MANIFEST_MALFORMED, detail) from None
    except (OSError, ValueError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "it is not ASCII text"
        raise Rejected(Code.MANIFEST_MALFORMED, f"{path} cannot be read: {why}") from None
    return read_chain(", ".join(text.replace(",", " ").split()))


def read_links(path: Path) -> tuple[Manifest, ...]:
    """The parsed manifests in a file. Nothing in them is verified.

    Raises:
        Rejected(MANIFEST_MALFORMED): as `read_chain_file` and `parse_manifest`.
    """
    return tuple(parse_manifest(token) for token in read_chain_file(path))


def write_chain_file(path: Path, tokens: tuple[str, ...]) -> None:
    """Put a chain at `path`, one link a line. A manifest is no secret: whoever has it still needs the key."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_whole(path, "".join(f"{token}\n" for token in tokens).encode("ascii"))


def lasting(lifetimes: Lifetimes) -> Lifetimes:
    """`lifetimes` for a chain at rest: its last link may be long-lived, because an agent will delegate under it."""
    return lifetimes.lasting()
