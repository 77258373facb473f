"""The demo's agent, in a process of its own. A script plays the language model: it reads an answer and decides.

    python -m proxy.cli.demo.agent FOLDER

FOLDER has `agent.json` (see `Settings`). On standard input comes one order a line, `{"do": "next"}`; for each, one
line says what the agent asked and what it got. The end of standard input ends it.

To be an agent behind the proxy takes two things only: the calls go to the proxy, and each carries the headers that
`Signer.headers_for` makes. All else here is the story's.
"""

import base64
import http.client
import json
import re
import ssl
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from proxy.agent.keyfile import load_key
from proxy.agent.signer import Header, Signer

TIMEOUT_S = 15.0
FIRST_INVOICE = 2043
METADATA_URL = "http://169.254.169.254/latest/meta-data/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are. The proxy is known only once it serves."""

    erp: str  # https://host:port
    erp_ca: str
    forbidden: str  # http://address:port
    api_key: str
    manifest: str
    key: str
    cluster: str
    task: str
    payroll_grant: dict[str, object]  # what a manifest would have to say to cover the payroll


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it goes on the wire. Sending it twice sends the same bytes twice."""

    method: str
    url: str
    headers: tuple[Header, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the agent asked, and what it got. Header names are in lower case."""

    method: str
    url: str
    status: int
    headers: dict[str, str]
    body: str


class Agent:
    """Works through invoices. An error sends it looking elsewhere, with whatever its key opens."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._proxy: tuple[str, int] | None = None
        self._proxy_ca = ""
        self._signer: Signer | None = None
        self._number = FIRST_INVOICE
        self._last: Reply | None = None
        self._path = ""
        self._recorded: Request | None = None

    # --- orders ------------------------------------------------------------------------------------------------------

    def use_proxy(self, host: str, port: int, ca: str) -> None:
        """From now on every call goes through the proxy, signed; and the work begins anew."""
        said = self._settings
        self._proxy, self._proxy_ca = (host, port), ca
        self._signer = Signer(Path(said.manifest), Path(said.key), cluster=said.cluster, task=said.task)
        self._number, self._last = FIRST_INVOICE, None

    def next(self) -> Reply:
        """Do what seems best after the last answer."""
        stuck = None if self._last is None else re.search(r"payee (\d+) is not", self._last.body)
        if stuck is not None:
            self._path = f"/v1/payroll/{stuck[1]}"  # "perhaps the payee is one of our own": the pivot
        else:
            self._number += self._last is not None
            self._path = f"/v1/invoices/{self._number}"
        return self.again()

    def again(self) -> Reply:
        """The same call as before, freshly signed."""
        self._last = self._send(self._erp_call(self._path))
        return self._last

    def ask(self, url: str) -> Reply:
        """Ask the proxy about a hold."""
        return self._send(self._signed(url, ()))

    def metadata(self) -> Reply:
        """Try for the machine's cloud credentials."""
        return self._send(self._signed(METADATA_URL, ()))

    def forbidden(self) -> Reply:
        """The same at a port of this machine, where somebody listens and can say what came."""
        return self._send(self._signed(f"{self._settings.forbidden}/latest/meta-data/", ()))

    def tampered(self) -> Reply:
        """The call that was held, under a manifest which the agent rewrote so that it covers it."""
        said = self._settings
        root = Path(said.manifest).read_text("ascii").split()[0]
        header, payload, signature = root.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        claims["authorization_details"].append(said.payroll_grant)
        written = json.dumps(claims, separators=(",", ":")).encode("ascii")
        payload = base64.urlsafe_b64encode(written).decode("ascii").rstrip("=")
        cluster = str(said.payroll_grant["identifier"])
        signer = Signer(
            ".".join((header, payload, signature)), load_key(Path(said.key)), cluster=cluster, task=said.task
        )
        return self._send(self._erp_call(self._path, signer))

    def good(self) -> Reply:
        """A call within the mandate, recorded as it goes out."""
        self._recorded = self._erp_call(f"/v1/invoices/{FIRST_INVOICE}")
        return self._send(self._recorded)

    def replay(self) -> Reply:
        """The recorded bytes once more, as whoever overheard them would send them."""
        assert self._recorded is not None
        return self._send(self._recorded)

    # --- calls -------------------------------------------------------------------------------------------------------

    def _erp_call(self, path: str, signer: Signer | None = None) -> Request:
        headers = (("Authorization", f"Bearer {self._settings.api_key}"), ("Accept", "application/json"))
        return self._signed(self._settings.erp + path, headers, signer)

    def _signed(self, url: str, headers: tuple[Header, ...], signer: Signer | None = None) -> Request:
        by = signer or self._signer
        proof = by.headers_for("GET", url, headers) if by is not None else ()
        return Request(method="GET", url=url, headers=(*headers, *proof))

    def _send(self, request: Request) -> Reply:
        parts = urlsplit(request.url)
        plain = parts.scheme == "http"
        connection = self._connection(parts.hostname or "", parts.port, plain=plain)
        target = request.url if plain else parts.path
        try:
            connection.putrequest(request.method, target, skip_accept_encoding=True)
            for name, value in request.headers:
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            body = response.read().decode("utf-8", "replace")
            headers = {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()
        return Reply(method=request.method, url=request.url, status=response.status, headers=headers, body=body)

    def _connection(self, host: str, port: int | None, *, plain: bool) -> http.client.HTTPConnection:
        if self._proxy is None:
            trust = ssl.create_default_context(cafile=self._settings.erp_ca)
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=trust)
        if plain:
            return http.client.HTTPConnection(*self._proxy, timeout=TIMEOUT_S)
        trust = ssl.create_default_context(cafile=self._proxy_ca)
        connection = http.client.HTTPSConnection(*self._proxy, timeout=TIMEOUT_S, context=trust)
        connection.set_tunnel(host, port)
        return connection


def main(folder: Path) -> None:
    """Follow orders until standard input ends."""
    agent = Agent(Settings(**json.loads((folder / "agent.json").read_text("utf-8"))))
    for line in sys.stdin:
        order = json.loads(line)
        reply: Reply | None = getattr(agent, order.pop("do"))(**order)
        sys.stdout.write(json.dumps(None if reply is None else asdict(reply)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
