"""`intent-proxy people`: those who sponsor, deputise and review."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import now, open_deployment
from proxy.cli.entries import add_person
from proxy.cli.passkeys import app as passkeys
from proxy.cli.publickeys import read_public_key
from proxy.cli.screen import GOOD, Screen, document
from proxy.cli.where import AsJson, Config
from proxy.cli.words import instant, until
from proxy.core.encoding import Json
from proxy.core.model import Person
from proxy.policy.sources import parse, read_sources

app = typer.Typer(help="Those who sponsor, deputise and review, with the keys they sign with.")
app.add_typer(passkeys, name="passkey", short_help="Passkeys: list, add, remove.")

USUAL_CERTIFICATION = timedelta(days=365)


@app.command("list")
def list_people(config: Config = None, as_json: AsJson = False) -> None:
    """List everyone in people.yaml, signed or not.

    Example:
      intent-proxy people list --json
    """
    settings = open_deployment(config).settings
    people = parse(read_sources(settings), operators=settings.operators).people
    if as_json:
        document([_person(person) for person in people.values()])
        return
    moment = now()
    Screen().table(
        ("person", "name", "role", "deputy", "certified until", "keys", "passkeys"),
        (
            (
                each.id,
                each.name,
                each.role,
                each.deputy or "",
                until(each.certified_until, moment),
                _kids(each),
                ", ".join(passkey.name for passkey in each.passkeys),
            )
            for each in people.values()
        ),
        empty="nobody is enrolled",
    )


@app.command()
def add(
    person: Annotated[str, typer.Argument(metavar="ID", help="A short name: letters, digits, dots and dashes.")],
    name: Annotated[str, typer.Option(help="Their name, as agents and reviewers read it.")],
    role: Annotated[str, typer.Option(help="What they are in the organisation.")],
    key: Annotated[
        list[Path], typer.Option(help="Their public key: what keys show prints, in a file. May be given again.")
    ],
    deputy: Annotated[
        str | None, typer.Option(help="Who answers when they cannot: another person's id.", show_default=False)
    ] = None,
    certified_until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Until when they may sign, as 2027-06-30. Else a year.", show_default=False),
    ] = None,
    config: Config = None,
) -> None:
    """Add a person to people.yaml. The rest of the file stays as it is.

    Nobody may sign before an operator has signed the file anew.

    Example:
      intent-proxy people add robin --name 'Robin Lee' --role Auditor --key robin.jwk
    """
    deployment = open_deployment(config)
    last_day = certified_until or (now() + USUAL_CERTIFICATION).date().isoformat()
    keys = tuple(read_public_key(path) for path in key)
    added = Person(id=person, name=name, role=role, deputy=deputy, certified_until=now(), keys=keys)
    path = add_person(deployment, added, certified_until=last_day)
    screen = Screen()
    screen.say(f"{person} is in {path}, certified until {last_day}", style=GOOD)
    screen.note("next: intent-proxy bundle sign")


def _person(person: Person) -> Json:
    return {
        "id": person.id,
        "name": person.name,
        "role": person.role,
        "deputy": person.deputy,
        "certified_until": instant(person.certified_until),
        "keys": [{"kid": key.kid, "alg": key.alg} for key in person.keys],
        "passkeys": [{"name": each.name, "fingerprint": each.key.kid} for each in person.passkeys],
        "oidc": [{"issuer": each.issuer, each.claim.value: each.value} for each in person.oidc],
    }


def _kids(person: Person) -> str:
    return " ".join(f"{key.kid[:8]}…" for key in person.keys)
