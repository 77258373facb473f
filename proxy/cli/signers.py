"""Whose private key signs: named by path or by person, else the only one in `keys/` that can be meant."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.keyfile import load_key
from proxy.cli.deployment import Deployment
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle

OPERATOR = "operator"

KeyFile = Annotated[
    Path | None,
    typer.Option("--key", help="The private key that signs. Else the one in keys/ that fits.", show_default=False),
]
As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="PERSON", envvar="INTENT_PROXY_AS", help="Who signs, when several could.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A private key and who it is enrolled for: a Person.id, or "operator"."""

    name: str
    key: PrivateKey


def choose_signer(
    deployment: Deployment, bundle: Bundle, *, key: Path | None, name: str | None, able: Callable[[str], bool]
) -> Signer:
    """The signer that was meant. `able` says whether a name can do what is asked; it only narrows a choice.

    Raises:
        Rejected(CONFIG_INVALID): the key is unreadable or nobody's, another's than `name`'s, or the choice is open.
    """
    if key is not None:
        signer = _read(key, bundle)
        if signer is None:
            kid = load_key(key).public.kid
            desk = any(each.kid == kid for each in bundle.desk.keys)
            why = "is the review desk's, which signs at the desk alone" if desk else "is enrolled for nobody here"
            mend = "name your own" if desk else "add its public half with people add"
            raise Rejected(Code.CONFIG_INVALID, f"the key {key} {why}; {mend}")
        if name not in (None, signer.name):
            raise Rejected(Code.CONFIG_INVALID, f"the key {key} is that of {signer.name}, not of {name}")
        return signer
    found, passed_over = _at_hand(deployment.keys, bundle)
    meant = {path: signer for path, signer in found.items() if name in (None, signer.name)}
    if len(meant) > 1:
        meant = {path: signer for path, signer in meant.items() if able(signer.name)} or meant
    match list(meant.values()):
        case [signer]:
            return signer
        case []:
            whose = name or "somebody who may do this"
            detail = f"{deployment.keys} has no key of {whose}; name one with --key PATH"
            raise Rejected(Code.CONFIG_INVALID, "\n".join([detail, *passed_over]))
        case several:
            names = sorted({signer.name for signer in several})
            how = "with --key PATH" if len(names) == 1 else "with --as PERSON"
            paths = ", ".join(str(path.name) for path in meant)
            raise Rejected(Code.CONFIG_INVALID, f"{' or '.join(names)} could sign ({paths}); say which {how}")


def owner(bundle: Bundle, kid: str) -> str | None:
    """Who a key is enrolled for: a Person.id, "operator", or None for nobody who may sign."""
    if any(key.kid == kid for key in bundle.operators):
        return OPERATOR
    return next((person.id for person in bundle.people.values() if any(key.kid == kid for key in person.keys)), None)


def _read(path: Path, bundle: Bundle) -> Signer | None:
    key = load_key(path)
    name = owner(bundle, key.public.kid)
    return None if name is None else Signer(name=name, key=key)


def _at_hand(keys: Path, bundle: Bundle) -> tuple[dict[Path, Signer], list[str]]:
    """The signers whose keys are in a directory, and why some of its files were passed over."""
    found: dict[Path, Signer] = {}
    faults: list[str] = []
    for path in sorted(keys.glob("*.pem")):
        try:
            signer = _read(path, bundle)
        except Rejected as fault:
            faults.append(fault.detail)
            continue
        if signer is not None:
            found[path] = signer
    return found, faults
