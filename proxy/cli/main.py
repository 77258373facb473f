"""`intent-proxy`: the commands, and the one place where a failure becomes a line of text and an exit code."""

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Any

import typer

from proxy.cli.exits import Exit, exit_for
from proxy.cli.origin import DISTRIBUTION, check_origin
from proxy.cli.visible import ascii_json, visible, visible_lines
from proxy.cli.where import Config, given
from proxy.core.encoding import Json
from proxy.core.errors import Rejected, Unavailable

PROGRAM = "intent-proxy"
_COMPLETION = "_INTENT_PROXY_COMPLETE"
_OURS = ("proxy", "addons")
_DASHED_ID = re.compile(r"-[A-Za-z0-9_-]{19}")  # 120 random bits in base64url, as holds are named

_START, _POLICY, _MANDATES, _REVIEW = "Set up and run", "Policy and people", "Mandates", "Review and audit"
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": (_START, "init:init", "Make a deployment: configuration, CA, keys, signed policy."),
    "run": (_START, "run:run", "Run the proxy."),
    "health": (_START, "health:health", "Does the running proxy still refuse? For health checks."),
    "demo": (_START, "demo:demo", "See the whole story on this machine."),
    "transparent": (_START, "transparent:app", "Packet rules: no way out for agents but through the proxy."),
    "ca": (_START, "ca:app", "The proxy's certificate authority."),
    "check": (_POLICY, "check:check", "Check the configuration; every fault with file and line."),
    "explain": (_POLICY, "explain:explain", "What would be decided about a call, and by which rule."),
    "bundle": (_POLICY, "bundle:app", "The operator's signature over clusters, agents and people."),
    "people": (_POLICY, "people:app", "Those who sponsor, deputise and review."),
    "kill": (_POLICY, "kill:app", "The kill switch: stop everything, let it go on."),
    "agents": (_POLICY, "agents:app", "The inventory of agents; quarantine."),
    "keys": (_POLICY, "keys:app", "Private keys and their public halves; the secret's rotation."),
    "manifest": (_MANDATES, "manifest:app", "Draft, sign, delegate, renew, read and revoke manifests."),
    "exec": (_MANDATES, "exec:command", "Run a program whose calls are signed for it."),
    "sidecar": (_MANDATES, "sidecar:command", "Sign what an agent beside it sends."),
    "doctor": (_MANDATES, "doctor:doctor", "What is wrong where an agent runs, and how to mend it."),
    "session": (_MANDATES, "session:app", "Proof for programs that know only HTTPS_PROXY."),
    "desk": (_REVIEW, "desk:app", "The review desk: pages on which people decide; whom it tells."),
    "holds": (_REVIEW, "holds:app", "Calls that wait for a person."),
    "reviewers": (_REVIEW, "overseeing:reviewers", "How people decide: how often, how fast, and what they release."),
    "grants": (_REVIEW, "grants:app", "What reviewers let pass beyond one call."),
    "audit": (_REVIEW, "audit:app", "The journal: read it, verify it."),
}
"""Panel, `module:attribute` below proxy.cli, and the line for the overview. A module is imported only when used."""
_RAW: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""For a command that reads its own words: the doctor also runs where there is no typer."""


def build(words: Sequence[str]) -> typer.Typer:
    """The program with the commands that `words` may name; the others appear in the overview only."""
    app = typer.Typer(
        name=PROGRAM,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    everything = _COMPLETION in os.environ
    for name, (panel, place, help_line) in COMMANDS.items():
        if not everything and name not in words:
            app.command(name, help=help_line, rich_help_panel=panel)(_stub)
            continue
        module, _, attribute = place.partition(":")
        command = getattr(import_module(f"proxy.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            bare = command.registered_callback is None  # else it does something without a command of its own
            app.add_typer(command, name=name, short_help=help_line, rich_help_panel=panel, no_args_is_help=bare)
        else:
            settings = _RAW if name == "doctor" else None
            app.command(name, short_help=help_line, rich_help_panel=panel, context_settings=settings)(command)
    return app


def _stub() -> None:
    """Stands in the overview for a command that was not asked for."""


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            number = version(DISTRIBUTION)
        except PackageNotFoundError:
            number = "of a source tree that is not installed"
        typer.echo(f"{PROGRAM} {number}")
        raise typer.Exit


def _root(
    config: Config = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A forward proxy that lets an AI agent do what its signed mandate says, and nothing else.

    Begin with:

      intent-proxy demo
      intent-proxy init mine --allow 'GET https://api.example.com/v1/items/{id}'

    Exit codes: 0 done, 1 refused, 2 wrong usage, 7 no answer: try again.
    Commands that have more say so in their own --help.
    """
    given.set(config)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Nothing a person may see here is a stack trace."""
    words = _ids_last(sys.argv[1:] if argv is None else argv)
    ours = words[: words.index("--")] if "--" in words else words  # what follows is a program's, or ids
    as_json = "--json" in ours
    given.set(None)
    try:
        check_origin()
        status = build(words)(args=words, prog_name=PROGRAM, complete_var=_COMPLETION, standalone_mode=False)
        sys.stdout.flush()
    except (Rejected, Unavailable) as fault:
        _complain(fault.code.value, fault.detail, as_json=as_json)
        return exit_for(fault)
    except typer.TyperException as fault:
        _complain("usage", _usage(fault), as_json=as_json)
        return Exit.CANNOT_TELL
    except (typer.Abort, KeyboardInterrupt):
        _complain("stopped", "stopped", as_json=as_json)
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        _complain("system", f"{where}{fault.strerror or fault}", as_json=as_json)
        return Exit.REFUSED
    except Exception as fault:  # noqa: BLE001 (the last line of defence: a person gets a line, not a stack trace)
        if isinstance(fault, ModuleNotFoundError) and str(fault.name).partition(".")[0] not in _OURS:
            _complain("not_installed", _not_installed(fault), as_json=as_json)
            return Exit.CANNOT_TELL
        _complain("broken", _broken(fault), as_json=as_json)
        return Exit.BROKEN
    return status if isinstance(status, int) else Exit.OK


def _ids_last(words: Sequence[str]) -> list[str]:
    """The words with a hold's id that begins with a dash behind `--`, so that it is not taken for an option."""
    begins = words.index("holds") if "holds" in words else len(words)
    ids = [word for word in words[begins:] if _DASHED_ID.fullmatch(word)]
    if len(ids) != 1 or "--" in words:
        return list(words)
    return [*(word for word in words if word != ids[0]), "--", *ids]


def _complain(code: str, text: str, *, as_json: bool) -> None:
    """One failure on standard error; the program's name stands before its first line."""
    if as_json:
        error: Json = {"error": {"code": code, "message": text}}
        sys.stderr.write(ascii_json(error, indent=None) + "\n")
        return
    first, *rest = visible_lines(text)
    sys.stderr.write("\n".join([f"{PROGRAM}: {first}", *rest]) + "\n")


def _usage(fault: typer.TyperException) -> str:
    context = getattr(fault, "ctx", None)
    message = fault.format_message()
    if not message:  # the help was shown instead
        return "name a command"
    return message if context is None else f"{message} (see: {context.command_path} --help)"


def _not_installed(missing: ModuleNotFoundError) -> str:
    detail = (
        "only exec, sidecar, doctor and keys run with intent-proxy[sidecar]; for the rest install intent-proxy[server]"
    )
    return f"{missing.name} is not installed: {detail}"


def _broken(fault: Exception) -> str:
    """An error of this program, with the place it happened at and nothing of the data it happened with."""
    ours = [frame for frame in extract_tb(fault.__traceback__) if "proxy" in Path(frame.filename).parts]
    place = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return visible(f"this is an error of {PROGRAM} itself: {type(fault).__name__}{place}; please report it")


if __name__ == "__main__":
    sys.exit(main())
