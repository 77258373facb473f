"""`intent-proxy desk tokens`: bearer tokens for the desk's API."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import now, open_deployment
from proxy.cli.deskplace import desk_tokens
from proxy.cli.screen import GOOD, NOTE, Screen, document
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import instant, read_span, until
from proxy.core.encoding import Json
from proxy.policy.enrolled import person_in
from proxy.policy.files import write_whole
from proxy.review.desk.tokens import USUAL, Scope, Token

app = typer.Typer(help="Tokens for the review desk's API.")


@app.command()
def add(
    name: Annotated[str, typer.Option("--as", metavar="PERSON", envvar="INTENT_PROXY_AS", help="Whom it names.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may; may be repeated.")],
    lasting: Annotated[
        timedelta | None,
        typer.Option("--for", parser=read_span, metavar="90d", help="How long; else 90 days.", show_default=False),
    ] = None,
    label: Annotated[str, typer.Option("--name", help="What it is for.", show_default=False)] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to this file (0600) instead.", show_default=False)
    ] = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """Make a token, and print it: this once, it is kept as a hash.

    It acts as one person, and ends by itself, with remove, and when that person
    leaves people.yaml. read: what waits and what was decided, drafts, and
    recording what the person signed. reveal: what may be credentials in a held
    call. decide: have the desk's key sign routine calls for the person.

    Examples:
      intent-proxy desk tokens add --as maria --scope read -o maria.token
      intent-proxy desk tokens add --as maria --scope read --scope decide --for 30d --name ci
    """
    deployment = open_deployment(config)
    person = person_in(deployment.bundle(dev=dev), name)
    tokens = desk_tokens(deployment.settings)
    length = lasting or USUAL
    text = tokens.add(person.id, frozenset(scope), lasting=length, name=label)
    if output is not None:
        write_whole(output, f"{text}\n".encode("ascii"), mode=0o600)
    if as_json:
        made = tokens.find(text)
        assert made is not None
        document({"token": text, **_json(made)} if output is None else _json(made))
        return
    screen, until_then = Screen(), until(now() + length, now())
    screen.say(text if output is None else str(output))
    may = " ".join(sorted(each.value for each in set(scope)))
    screen.note(f"names {person.id}, may {may}, until {until_then}; it is not shown again", style=NOTE)


@app.command("list")
def list_tokens(config: Config = None, as_json: AsJson = False) -> None:
    """List the tokens: whom each names, what it may, until when, and when it was last used.

    Example:
      intent-proxy desk tokens list
    """
    found = desk_tokens(open_deployment(config).settings).listing()
    if as_json:
        document([_json(each) for each in found])
        return
    moment = now()
    Screen().table(
        ("id", "person", "may", "until", "last used", "for"),
        (
            (
                each.id,
                each.person,
                " ".join(sorted(each.scopes)),
                until(each.until, moment),
                "never" if each.used is None else instant(each.used),
                each.name,
            )
            for each in found
        ),
        empty="there are no tokens",
    )


@app.command()
def remove(
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as desk tokens list prints it.")],
    config: Config = None,
) -> None:
    """Take a token away: the next request with it is refused.

    Example:
      intent-proxy desk tokens remove TOKEN
    """
    gone = desk_tokens(open_deployment(config).settings).remove(token)
    Screen().say(f"token {gone.id} of {gone.person} is removed", style=GOOD)


def _json(token: Token) -> dict[str, Json]:
    return {
        "id": token.id,
        "person": token.person,
        "scopes": sorted(scope.value for scope in token.scopes),
        "name": token.name,
        "made": instant(token.made),
        "until": instant(token.until),
        "used": None if token.used is None else instant(token.used),
    }
