"""The demo's agent, in a process of its own. A script plays the language model: it reads an answer and makes a next call.

    python -m proxy.cli.demo.agent FOLDER

FOLDER has `agent.json` (see `Settings`). On standard input comes one order a line, `{"do": "next"}`; for each, one
line says what the agent did and what came back. The end of standard input ends it.

To be an agent behind the proxy takes two things only: the calls go to the proxy, and each carries the headers that
`Signer.headers_for` makes. All else here is the story's.
"""

import base64
import http.client
import json
import re
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from proxy.agent.keyfile import load_key
from proxy.agent.signer import Header, Signer

TIMEOUT_S = 15.0
FIRST_INVOICE = 2043
METADATA_URL = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"

type Answer = dict[str, object]


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


class Agent:
    """Works through invoices. An error sends it looking elsewhere, with whatever its key opens."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._proxy: tuple[str, int] | None = None
        self._proxy_ca = ""
        self._signer: Signer | None = None
        self._number = FIRST_INVOICE
        self._last: Answer = {}
        self._path = ""

    # --- orders ------------------------------------------------------------------------------------------------------

    def use_proxy(self, host: str, port: int, ca: str) -> Answer:
        """From now on every call goes through the proxy, signed; and the work begins anew."""
        said = self._settings
        self._proxy, self._proxy_ca = (host, port), ca
        self._signer = Signer(Path(said.manifest), Path(said.key), cluster=said.cluster, task=said.task)
        self._number, self._last = FIRST_INVOICE, {}
        return {}

    def next(self) -> Answer:
        """Do what seems best after the last answer."""
        stuck = re.search(r"payee (\d+) is not", str(self._last.get("body", "")))
        if stuck:
            self._path = f"/v1/payroll/{stuck[1]}"  # "perhaps the payee is one of our own": the pivot
        else:
            self._number += 1 if self._last else 0
            self._path = f"/v1/invoices/{self._number}"
        return self.again()

    def again(self) -> Answer:
        """The same call as before, freshly signed."""
        self._last = self._send(self._erp_call(self._path))
        return self._last

    def ask(self, url: str) -> Answer:
        """Ask the proxy about a hold."""
        return self._send(self._signed(url, ()))

    def metadata(self) -> Answer:
        """Try for the machine's own cloud credentials."""
        return self._send(self._signed(METADATA_URL, ()))

    def forbidden(self) -> Answer:
        """The same on this machine, where somebody listens."""
        return self._send(self._signed(f"{self._settings.forbidden}/latest/meta-data/", ()))

    def tampered(self) -> Answer:
        """The call that was held, under a manifest which the agent rewrote so that it covers it."""
        said = self._settings
        root = Path(said.manifest).read_text("ascii").split()[0]
        header, payload, signature = root.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        claims["authorization_details"].append(said.payroll_grant)
        written = json.dumps(claims, separators=(",", ":")).encode("ascii")
        payload = base64.urlsafe_b64encode(written).decode("ascii").rstrip("=")
        cluster = str(said.payroll_grant["identifier"])
        signer = Signer(".".join((header, payload, signature)), load_key(Path(said.key)), cluster=cluster, task=said.task)
        return self._send(self._erp_call(self._path, signer))

    def replay(self) -> list[Answer]:
        """One good call, and then its very bytes once more, as whoever recorded them would send them."""
        request = self._erp_call(f"/v1/invoices/{FIRST_INVOICE}")
        return [self._send(request), self._send(request)]

    # --- calls -------------------------------------------------------------------------------------------------------

    def _erp_call(self, path: str, signer: Signer | None = None) -> Request:
        headers = (("Authorization", f"Bearer {self._settings.api_key}"), ("Accept", "application/json"))
        return self._signed(self._settings.erp + path, headers, signer)

    def _signed(self, url: str, headers: tuple[Header, ...], signer: Signer | None = None) -> Request:
        by = signer or self._signer
        proof = by.headers_for("GET", url, headers) if by is not None else ()
        return Request(method="GET", url=url, headers=(*headers, *proof))

    def _send(self, request: Request) -> Answer:
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
        return {
            "method": request.method,
            "url": request.url,
            "status": response.status,
            "reason": response.reason,
            "headers": headers,
            "body": body,
        }

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
        done = getattr(agent, order.pop("do"))(**order)
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
