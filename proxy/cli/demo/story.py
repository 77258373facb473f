"""The story of the semantic pivot, told while it happens. Every sentence about what happened is checked first."""

import json
import select
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from proxy.cli.demo.actors import PROGRAM, Child, Edge, Said, as_typed, ending, run
from proxy.cli.demo.claims import Claims
from proxy.cli.demo.evidence import ServerLog, allowed_in, problem_of
from proxy.cli.demo.forgery import copy_deployment, forge
from proxy.cli.demo.origin import HOST
from proxy.cli.demo.stage import Address, Stage, prepare_edge, prepare_server
from proxy.cli.demo.teller import PASSED, PLAIN, REFUSED, STOPPED, Teller
from proxy.core.encoding import Json
from proxy.core.errors import Code
from proxy.core.model import HoldState, Verdict
from proxy.policy.example import SPONSOR

PIVOT = "GET /v1/payroll/88"
READ, STUCK = "GET /v1/invoices/2043", "GET /v1/invoices/2044"
POLL_S = 1.0

type Answer = Mapping[str, object]


class Story:
    """Six chapters, each on what the one before left."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        self._stage, self._tell = stage, teller
        self.claims = Claims()
        self._server = ServerLog(stage.log)
        self._proxied: list[str] = []
        self._hold = ""

    def play(self) -> None:
        """Tell all of it.

        Raises:
            BrokenClaim: something did not happen as told.
            Unavailable: one of the processes does not do its part.
        """
        with ExitStack() as actors:
            prepare_server(self._stage)
            server = Child("proxy.cli.demo.origin", self._stage.server)
            actors.enter_context(ending(server))
            prepare_edge(self._stage, _doors(server.hear()))
            edge = Edge(self._stage.edge, self._stage.folder / "proxy.log")
            actors.enter_context(ending(edge))
            agent = Child("proxy.cli.demo.agent", self._stage.folder)
            actors.enter_context(ending(agent))
            self._without(agent)
            self._through(agent, edge.ready())
            self._two_views()
            self._released(agent)
            self._never(agent)
            self._recorded(edge)
