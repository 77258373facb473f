"""Is this program whole? `proxy` and `addons` are plain names that another distribution may also have installed."""

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from proxy.core.errors import Code, Rejected

DISTRIBUTION = "intent-proxy"
_PACKAGES = ("proxy", "addons")


def check_origin(home: Path = Path(__file__).parents[2]) -> None:
    """Refuse to run when `proxy` and `addons` are not both this distribution's own, below `home`.

    Ours have an empty `__init__.py`, so that one written over it shows as well.

    Raises:
        Rejected(CONFIG_INVALID): one line that names the intruder.
    """
    for name in _PACKAGES:
        spec = find_spec(name)
        found = Path(spec.origin) if spec is not None and spec.origin else None
        if found is None or found.resolve() != (home / name / "__init__.py").resolve() or found.stat().st_size:
            raise Rejected(
                Code.CONFIG_INVALID,
                f"the package {name!r} must be {DISTRIBUTION}'s own, in {home / name}, got that of {_owner(name)} "
                f"({found or 'nowhere'}): install {DISTRIBUTION} into an environment of its own (uv tool install)",
            )


def _owner(name: str) -> str:
    owners = set(packages_distributions().get(name, ())) - {DISTRIBUTION}
    return " and ".join(sorted(owners)) or "an unknown distribution"
