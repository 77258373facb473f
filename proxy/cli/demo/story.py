"""The story of the semantic pivot, told while it happens. What the text says of a step is checked before it is said."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from proxy.cli.demo.actors import PROGRAM, Child, Edge, as_typed, run
from proxy.cli.demo.agent import METADATA_URL, Reply
from proxy.cli.demo.claims import Claims
from proxy.cli.demo.evidence import ServerLog, allowed_in, problem_of
from proxy.cli.demo.forgery import copy_deployment, forge
from proxy.cli.demo.origin import FORBIDDEN, HOST
from proxy.cli.demo.reader import Reader
from proxy.cli.demo.replies import asked_in, doors_in, outcome_of, reply_in, task_in
from proxy.cli.demo.stage import NAME, PURPOSE, Address, Stage, prepare_edge, prepare_server
from proxy.cli.demo.teller import REFUSED, Teller
from proxy.cli.exits import Exit
from proxy.core.encoding import Json
from proxy.core.errors import Code
from proxy.core.model import HoldState
from proxy.policy.example import AGENT, SPONSOR

READ, STUCK, PIVOT = "GET /v1/invoices/2043", "GET /v1/invoices/2044", "GET /v1/payroll/88"
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
        self._reader: Reader | None = None  # whoever is at the terminal

    def play(self) -> None:
        """Tell all of it.

        Raises:
            BrokenClaim: something did not happen as told.
            Unavailable: one of the processes does not do its part.
        """
        with ExitStack() as actors:
            prepare_server(self._stage)
            server = actors.enter_context(Child("proxy.cli.demo.origin", self._stage.server))
            doors = doors_in(server.hear())
            prepare_edge(self._stage, doors)
            edge = actors.enter_context(Edge(self._stage.edge, self._stage.folder / "proxy.log", desk=self._tell.asks))
            agent = actors.enter_context(Child("proxy.cli.demo.agent", self._stage.folder))
            self._without(agent)
            with self._tell.waiting("the proxy is starting"):
                proxy = edge.ready()
                desk = edge.desk()
            if self._tell.asks:
                self._reader = Reader(self._stage, self._tell, desk=desk, person=SPONSOR, name=NAME)
            self._through(agent, proxy)
            self._two_views()
            self._decided(agent)
            self._never(agent, doors)
            if self._reader is not None:
                self._reader.looks_around()
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
            f"{NAME}, who answers for {AGENT}, signed what it is for: “{PURPOSE}” Here that is "
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
        shown = run(self._shown(("holds", "show", task_in(self._held, "id")), self._stage.edge))
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

    def _decided(self, agent: Child) -> None:
        self._chapter("4  A person decides")
        reader, by_hand = self._reader, False
        if reader is None:
            self._tell.say("Payee 88 is on the staff, Maria knows. She lets this one call pass:")
        else:
            self._tell.say("Payee 88 is on the staff, Maria knows. So this one call may pass.")
            reader.is_shown_the_desk()
        words = ("holds", "release", task_in(self._held, "id"), "--as", SPONSOR, "--reason", "payee 88 is on the staff")
        command = self._shown(words, self._stage.edge)
        if reader is not None:
            by_hand = reader.decides(lambda: self._hold_state(agent))
        if not by_hand:
            self._tell.quote(run(command).output)
        state = self._hold_state(agent)
        if by_hand and state != HoldState.APPROVED.value:
            self._not_released(agent, state)
            return
        self.claims.check(
            "the release is taken",
            expected={"hold": HoldState.APPROVED.value},
            seen={"hold": state},
        )
        self._released(agent, by_hand=by_hand, more=by_hand and reader is not None and reader.let_more_pass())

    def _released(self, agent: Child, *, by_hand: bool, more: bool) -> None:
        """What the reader's release lets pass, or the story's own: one call, and `more` where they said so."""
        self._tell.say(f"{'You released it. ' if by_hand else ''}The agent sends its call again, and then once more:")
        self._call(agent, "again", PIVOT, 200)
        if more:
            self._call(agent, "again", PIVOT, 200)
            self._tell.say("You let calls like it pass, too: so the second one did.")
            return
        again = problem_of(self._call(agent, "again", PIVOT, 403, Code.NOT_COVERED))
        self.claims.check(
            "a release is good for one call",
            expected={"first hold": HoldState.RELEASED.value, "held anew": True},
            seen={
                "first hold": self._hold_state(agent),
                "held anew": task_in(again, "id") != task_in(self._held, "id"),
            },
        )

    def _not_released(self, agent: Child, state: Json) -> None:
        """The reader denied it, or ended it otherwise."""
        denied = state == HoldState.DENIED.value
        said = "You denied it. The agent sends its call again, and reads why it may not:"
        self._tell.say(said if denied else f"It is {state}. The agent sends its call again:")
        code = Code.HOLD_DENIED if denied else Code.NOT_COVERED
        problem = problem_of(self._call(agent, "again", PIVOT, 403, code))
        self._tell.quote(str(problem["detail"]))
        self._tell.say("Of this one, too, the server saw nothing.")

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
        filed = (task_in(self._held, "id").encode(), b'"verdict":"hold"')
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
        reply = reply_in(agent.tell({"do": do}))
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
                "asked": asked_in(reply),
                "status": reply.status,
                "code": problem.get("code"),
                "connections": arrived.connections,
                "requests": list(arrived.requests),
            },
        )
        self._passed += arrived.requests
        self._tell.call(asked, status, *outcome_of(reply, problem, style))
        return reply

    def _shown(self, words: tuple[str, ...], deployment: Path) -> list[str]:
        """A command of ours, told as one would type it and returned to be run just so."""
        command = [*PROGRAM, *words, "-c", str(deployment)]
        self._tell.command(as_typed(command, self._tell.width - 6))
        return command

    def _hold_state(self, agent: Child) -> Json:
        """What the proxy tells the agent about its hold."""
        where = task_in(self._held, "status_endpoint")
        document: Json = json.loads(reply_in(agent.tell({"do": "ask", "url": where})).body)
        assert isinstance(document, Mapping)
        return document["status"]
