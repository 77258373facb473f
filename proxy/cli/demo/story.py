"""The story of the semantic pivot, told while it happens. What the text says of a step is checked before it is said."""

import json
import select
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from proxy.cli.demo.actors import PROGRAM, Child, Edge, as_typed, run
from proxy.cli.demo.agent import METADATA_URL, Reply
from proxy.cli.demo.claims import Claims
from proxy.cli.demo.evidence import ServerLog, allowed_in, problem_of
from proxy.cli.demo.forgery import copy_deployment, forge
from proxy.cli.demo.origin import FORBIDDEN, HOST
from proxy.cli.demo.stage import PURPOSE, Address, Stage, prepare_edge, prepare_server, sign_in_link
from proxy.cli.demo.teller import PASSED, PLAIN, PROMPT, REFUSED, STOPPED, Teller
from proxy.cli.exits import Exit
from proxy.core.encoding import Json
from proxy.core.errors import Code
from proxy.core.model import HoldState
from proxy.policy.example import AGENT, SPONSOR

READ, STUCK, PIVOT = "GET /v1/invoices/2043", "GET /v1/invoices/2044", "GET /v1/payroll/88"
POLL_S = 1.0

_SHORTENED = ("title", "detail", "code", "retry")


class Story:
    """Six chapters, each standing on the one before."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        self.claims = Claims()
        self._stage, self._tell = stage, teller
        self._server = ServerLog(stage.log)
        self._title = ""
        self._passed: list[str] = []  # what the server saw by way of the proxy
        self._held: Mapping[str, Json] = {}  # what the agent was told of the held call
        self._desk: str | None = None  # where the review desk is

    def play(self) -> None:
        """Tell all of it.

        Raises:
            BrokenClaim: something did not happen as told.
            Unavailable: one of the processes does not do its part.
        """
        with ExitStack() as actors:
            prepare_server(self._stage)
            server = actors.enter_context(Child("proxy.cli.demo.origin", self._stage.server))
            doors = _doors(server.hear())
            prepare_edge(self._stage, doors)
            edge = actors.enter_context(Edge(self._stage.edge, self._stage.folder / "proxy.log", desk=self._tell.asks))
            agent = actors.enter_context(Child("proxy.cli.demo.agent", self._stage.folder))
            self._without(agent)
            with self._tell.waiting("the proxy is starting"):
                proxy = edge.ready()
                self._desk = edge.desk()
            self._through(agent, proxy)
            self._two_views()
            self._released(agent)
            self._never(agent, doors)
            self._recorded(edge)

    # --- chapters ----------------------------------------------------------------------------------------------------

    def _without(self, agent: Child) -> None:
        self._tell.say(
            "A server, a proxy with two workers, an agent and a reviewer, all on this machine and over real "
            "connections. A short script plays the language model."
        )
        self._chapter("1  Without the proxy")
        self._tell.say(f"{AGENT} matches supplier invoices. Its key to the ERP system is valid.")
        self._call(agent, "next", READ, 200)
        self._call(agent, "next", STUCK, 409)
        self._tell.say("Stuck on that error, it tries another data set: same host, same key.")
        self._call(agent, "next", PIVOT, 200, style=REFUSED)
        self._tell.say("Salary data has leaked. The server checks who may ask; it cannot know what the task is for.")
        self._passed.clear()

    def _through(self, agent: Child, proxy: Address) -> None:
        agent.tell({"do": "use_proxy", "host": proxy[0], "port": proxy[1], "ca": str(self._stage.ca)})
        self._chapter("2  Through the proxy")
        self._tell.say(
            f"Maria Brandt, who answers for {AGENT}, signed what it is for: “{PURPOSE}” Here that is "
            "GET /v1/invoices/{id}. Same agent, same key; each call now carries her manifest and a fresh signature."
        )
        self._call(agent, "next", READ, 200)
        self._call(agent, "next", STUCK, 409)
        self._held = problem_of(self._call(agent, "next", PIVOT, 403, Code.NOT_COVERED))
        self._tell.say("Of the last one the server saw nothing: no connection, not a byte.")

    def _two_views(self) -> None:
        self._chapter("3  One held call, two views")
        self._tell.say("The agent is told what to do next (shortened):")
        self._tell.quote(json.dumps({name: self._held[name] for name in _SHORTENED}, indent=2))
        self._tell.say("Maria sees why it was held and what would be sent. The API key is shown as a hash:")
        shown = run(self._shown(("holds", "show", _hold_id(self._held)), self._stage.edge))
        api_key = (self._stage.server / "api.key").read_text("ascii").strip()
        self.claims.check(
            "the reviewer sees the call, and no secret",
            expected={"exit": Exit.OK, "names the call": True, "shows the API key": False},
            seen={
                "exit": shown.status,
                "names the call": "/v1/payroll/88" in shown.output,
                "shows the API key": api_key in shown.output,
            },
        )
        self._tell.quote(shown.output)

    def _released(self, agent: Child) -> None:
        self._chapter("4  Released, once")
        self._tell.say("Payee 88 is on the staff, Maria knows. She lets this one call pass:")
        words = ("holds", "release", _hold_id(self._held), "--as", SPONSOR, "--reason", "payee 88 is on the staff")
        command = self._shown(words, self._stage.edge)
        by_hand = self._tell.asks and self._by_hand(agent)
        self._tell.quote("released in another terminal, or on the desk" if by_hand else run(command).output)
        self.claims.check(
            "the reviewer's command releases the hold",
            expected={"hold": HoldState.APPROVED.value},
            seen={"hold": self._hold_state(agent)},
        )
        self._tell.say("The agent sends its call again, and then once more:")
        self._call(agent, "again", PIVOT, 200)
        again = problem_of(self._call(agent, "again", PIVOT, 403, Code.NOT_COVERED))
        self.claims.check(
            "a release is good for one call",
            expected={"first hold": HoldState.RELEASED.value, "held anew": True},
            seen={"first hold": self._hold_state(agent), "held anew": _hold_id(again) != _hold_id(self._held)},
        )

    def _never(self, agent: Child, doors: Mapping[str, Address]) -> None:
        self._chapter("5  What nobody can release")
        self._tell.say("The machine's cloud credentials, and a local port that stands in for them:")
        self._call(agent, "metadata", f"GET {METADATA_URL}", 403, Code.GUARD_ADDRESS)
        host, port = doors[FORBIDDEN]
        stand_in = f"http://{f'[{host}]' if ':' in host else host}:{port}/latest/meta-data/"
        self._call(agent, "forbidden", f"GET {stand_in}", 403, Code.GUARD_ADDRESS)
        self._tell.say("The payroll, under a manifest that the agent rewrote so that it covers it:")
        self._call(agent, "tampered", PIVOT, 403, Code.MANIFEST_SIGNATURE)
        self._tell.say("A good call, then its recorded bytes a second time:")
        self._call(agent, "good", READ, 200)
        self._call(agent, "replay", READ, 403, Code.PROOF_REPLAYED)
        self._tell.say("The server saw the good call alone, and nobody knocked at the local port.")

    def _recorded(self, edge: Edge) -> None:
        self._chapter("6  The record")
        self.claims.check("the proxy stops in good order", expected={"exit": 0}, seen={"exit": edge.stop()})
        allowed: list[Json] = list(allowed_in(self._stage.state / "journal", HOST))
        self.claims.check(
            "journal and server agree", expected={"let through": list(self._passed)}, seen={"let through": allowed}
        )
        self._tell.say(
            f"The proxy's journal has {len(allowed)} calls let through, the server's own log the same {len(allowed)}."
        )
        whole = run(self._shown(("audit", "verify"), self._stage.edge))
        self.claims.check("the journal verifies", expected={"exit": Exit.OK}, seen={"exit": whole.status})
        self._tell.quote(whole.output)
        self._forged()

    def _forged(self) -> None:
        copy = self._stage.folder / "copy"
        copy_deployment(self._stage.edge, copy)
        filed = (_hold_id(self._held).encode(), b'"verdict":"hold"')
        forged = forge(copy / "state" / "journal", filed, b"/v1/payroll/88", b"/v1/invoices/88")
        self._tell.say(
            f"In a copy, somebody rewrites line {forged.line}, the held call, as an invoice call, and makes every hash "
            "after it anew:"
        )
        damaged = run(self._shown(("audit", "verify"), copy))
        self.claims.check(
            "a forged journal is noticed, and the line is named",
            expected={"hashes fit": True, "exit": Exit.REFUSED, "names": f"{forged.file}:{forged.line}:"},
            seen={"hashes fit": forged.fits, "exit": damaged.status, "names": damaged.output.partition(" ")[0]},
        )
        self._tell.quote(damaged.output)

    # --- what the chapters are made of -------------------------------------------------------------------------------

    def _chapter(self, heading: str) -> None:
        self._title = heading.lstrip("0123456789 ")
        self._tell.heading(heading)

    def _call(
        self, agent: Child, do: str, asked: str, status: int, code: Code | None = None, *, style: str | None = None
    ) -> Reply:
        """Let the agent act, check what it asked, what it got and what the server saw; then tell it.

        A call that is refused, with `code`, must not reach the server: not by a connection, not by a byte.
        """
        reply = _reply(agent.tell({"do": do}))
        problem, arrived = problem_of(reply), self._server.news()
        self.claims.check(
            f"{self._title}: {asked} ({do})",
            expected={
                "asked": asked,
                "status": status,
                "code": None if code is None else code.value,
                "connections": 0 if code is not None else 1,
                "requests": [] if code is not None else [asked],
            },
            seen={
                "asked": _asked(reply),
                "status": reply.status,
                "code": problem.get("code"),
                "connections": arrived.connections,
                "requests": list(arrived.requests),
            },
        )
        self._passed += arrived.requests
        self._tell.call(asked, status, *_outcome(reply, problem, style))
        return reply

    def _shown(self, words: tuple[str, ...], deployment: Path) -> list[str]:
        """A command of ours, told as one would type it and returned to be run just so."""
        command = [*PROGRAM, *words, "-c", str(deployment)]
        self._tell.command(as_typed(command, self._tell.width - 6))
        return command

    def _by_hand(self, agent: Child) -> bool:
        """Wait for the reader: for Enter, or until the hold was released in another terminal (True)."""
        self._tell.say("Press Enter to run it here; or run it yourself, in another terminal.", PROMPT)
        if self._desk is not None:
            self._tell.say("Or release it as she would, on the review desk. This link signs her in, once:", PROMPT)
            self._tell.quote(f"{self._desk}/enter?link={sign_in_link(self._stage, SPONSOR)}")
        while self._hold_state(agent) == HoldState.HELD.value:
            readable, _, _ = select.select([sys.stdin], [], [], POLL_S)
            if readable:
                sys.stdin.readline()
                return False
        return True

    def _hold_state(self, agent: Child) -> Json:
        """What the proxy tells the agent about its hold."""
        task = self._held["task"]
        assert isinstance(task, Mapping)
        document: Json = json.loads(_reply(agent.tell({"do": "ask", "url": task["status_endpoint"]})).body)
        assert isinstance(document, Mapping)
        return document["status"]


def _asked(reply: Reply) -> str:
    """Method and path; the whole URL when it is not the ERP system's."""
    parts = urlsplit(reply.url)
    return f"{reply.method} {parts.path if parts.hostname == HOST else reply.url}"


def _outcome(reply: Reply, problem: Mapping[str, Json], style: str | None) -> tuple[str, str]:
    """What came back in few words, and in which colour."""
    if problem:
        held = "task" in problem
        return f"{'held' if held else 'denied'}: {problem['code']}", STOPPED if held else REFUSED
    words = "; ".join(f"{name} {value}" for name, value in json.loads(reply.body).items())
    return words, style or (PASSED if reply.status == 200 else PLAIN)


def _hold_id(problem: Mapping[str, Json]) -> str:
    task = problem["task"]
    assert isinstance(task, Mapping)
    return str(task["id"])


def _reply(said: Json) -> Reply:
    """A reply as the agent's process writes it."""
    assert isinstance(said, Mapping)
    headers = said["headers"]
    assert isinstance(headers, Mapping)
    return Reply(
        method=str(said["method"]),
        url=str(said["url"]),
        status=int(str(said["status"])),
        headers={name: str(value) for name, value in headers.items()},
        body=str(said["body"]),
    )


def _doors(said: Json) -> dict[str, Address]:
    """Where the server listens, as its process writes it."""
    assert isinstance(said, Mapping)
    return {
        name: (str(place["host"]), int(str(place["port"])))
        for name, place in said.items()
        if isinstance(place, Mapping)
    }
