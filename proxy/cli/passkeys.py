"""`intent-proxy people passkey`: the passkeys that sign people's releases at the review desk."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import open_deployment
from proxy.cli.nested import add_passkey, remove_passkey
from proxy.cli.screen import GOOD, WARN, Screen, document
from proxy.cli.where import AsJson, Config
from proxy.core.encoding import Json, b64u
from proxy.core.errors import Code, Rejected
from proxy.core.keys import jwk
from proxy.core.model import Passkey, Person
from proxy.policy.passkeys import read_passkey_line
from proxy.policy.sources import parse, read_sources

app = typer.Typer(
    help="Passkeys: what people sign with at the review desk, in place of a key of their own.", no_args_is_help=True
)

Owner = Annotated[str, typer.Argument(metavar="PERSON", help="Whose it is.")]

_MAX_CHARS = 8_192


@app.command("list")
def list_passkeys(
    owner: Annotated[
        str | None, typer.Argument(metavar="PERSON", help="Whose; else everybody's.", show_default=False)
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the passkeys in people.yaml, signed or not.

    Example:
      intent-proxy people passkey list --json
    """
    settings = open_deployment(config).settings
    people = parse(read_sources(settings), operators=settings.operators).people
    found = [
        (person, passkey) for person in people.values() if owner in (None, person.id) for passkey in person.passkeys
    ]
    if as_json:
        document([_passkey(person, passkey) for person, passkey in found])
        return
    Screen().table(
        ("person", "passkey", "domain", "algorithm", "fingerprint"),
        ((who.id, each.name, each.rp_id, each.key.alg, each.key.kid) for who, each in found),
        empty="nobody has a passkey",
    )


@app.command()
def add(
    owner: Owner,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What the desk's page showed them, in a file; - for standard input.")
    ],
    name: Annotated[str | None, typer.Option(help="What to call it, if not as they did.", show_default=False)] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Enrol a passkey that somebody made at the review desk. The rest of people.yaml stays as it is.

    Whoever has this passkey decides in this person's name. Take the text from
    themselves, not from the desk, and compare the fingerprint that is printed
    with the one they were shown. It counts when an operator has signed the
    files anew.

    Examples:
      intent-proxy people passkey add maria maria.passkey
      intent-proxy people passkey add maria - < maria.passkey
    """
    deployment = open_deployment(config)
    passkey = read_passkey_line(_read(file))
    if name is not None:
        passkey = replace(passkey, name=name)
    path = add_passkey(deployment, owner, passkey)
    if as_json:
        document({"person": owner, "name": passkey.name, "fingerprint": passkey.key.kid, "file": str(path)})
        return
    screen = Screen()
    screen.say(f"{owner}'s passkey {passkey.name} is in {path}", style=GOOD)
    screen.facts([("fingerprint", passkey.key.kid), ("domain", passkey.rp_id)], indent=2)
    screen.note(f"ask {owner} whether that is the fingerprint they were shown", style=WARN)
    screen.note("next: intent-proxy bundle sign")


@app.command()
def remove(
    owner: Owner,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which, as people passkey list prints it.")],
    config: Config = None,
) -> None:
    """Take a passkey from a person, as when it was lost. What it signed and was not sent yet is not sent any more.

    Example:
      intent-proxy people passkey remove maria 'blue stick'
    """
    path = remove_passkey(open_deployment(config), owner, name)
    screen = Screen()
    screen.say(f"{owner}'s passkey {name} is no longer in {path}", style=GOOD)
    screen.note("next: intent-proxy bundle sign")


def _read(file: Path) -> str:
    try:
        if str(file) == "-":
            return sys.stdin.read(_MAX_CHARS)
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MAX_CHARS)
    except OSError as fault:
        raise Rejected(Code.CONFIG_INVALID, f"{file}: cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise Rejected(Code.CONFIG_INVALID, f"{file}: expected what the desk's page shows, in UTF-8") from None


def _passkey(person: Person, passkey: Passkey) -> Json:
    return {
        "person": person.id,
        "name": passkey.name,
        "id": b64u(passkey.id),
        "rp_id": passkey.rp_id,
        "key": jwk(passkey.key),
        "alg": passkey.key.alg,
        "fingerprint": passkey.key.kid,
    }
