"""The desk's API as a client: nothing of what it answers is believed further than it must be.

One connection for each request, to that host alone: no redirect is followed and no proxy of the environment is asked.
TLS is verified, always. An answer has an end, in time and in bytes.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

import certifi
import h11

from proxy.cli.atdesk import AtDesk, Place
from proxy.core.encoding import Json, parse_json
from proxy.core.errors import Code, Rejected, Unavailable

DEADLINE_S = 30.0
MOST_BYTES = 32 * 1024 * 1024
_CHUNK = 65_536
_BASE = "/api/v1"
_JSON = frozenset({"application/json", "application/problem+json"})
_SHORT = 300


class NotDone(Exception):
    """A word that changed nothing: what the desk says of it."""

    def __init__(self, outcome: Mapping[str, Json]) -> None:
        super().__init__("not done")
        self.outcome = outcome


class DeskClient:
    """Asks one desk, in the name of one token."""

    def __init__(self, there: AtDesk, *, deadline_s: float = DEADLINE_S) -> None:
        """Raises Rejected(CONFIG_INVALID): no token, or a CA that cannot be read."""
        self.place: Place = there.place
        self._token = there.token()
        self._tls = _tls(there.ca) if there.place.scheme == "https" else None
        self._deadline_s = deadline_s

    async def get(self, *path: str, query: Sequence[tuple[str, str]] = ()) -> Mapping[str, Json]:
        """A document.

        Raises: as `post`.
        """
        return await self._ask("GET", path, query, None)

    async def post(self, *path: str, body: Mapping[str, Json] | None = None) -> Mapping[str, Json]:
        """A document in answer to `body`.

        Raises:
            NotDone: it changed nothing, and the desk says why.
            Rejected: the desk refuses, or its answer is none.
            Unavailable: it does not answer.
        """
        return await self._ask("POST", path, (), None if body is None else json.dumps(body).encode())

    async def _ask(
        self, method: str, path: Sequence[str], query: Sequence[tuple[str, str]], body: bytes | None
    ) -> Mapping[str, Json]:
        target = _BASE + "".join(f"/{quote(part, safe='')}" for part in path)
        target += f"?{urlencode(query)}" if query else ""
        try:
            async with asyncio.timeout(self._deadline_s):
                head, data = await self._exchange(method, target, body)
        except TimeoutError:
            raise self._down(f"gave no whole answer within {self._deadline_s:g} s") from None
        except ssl.SSLCertVerificationError as fault:
            detail = f"shows a certificate that does not count ({fault.verify_message}): name its CA with --ca"
            raise Rejected(Code.UPSTREAM_TLS, f"the desk {self.place} {detail}") from None
        except h11.RemoteProtocolError:
            raise self._wrong("answers with something that is not HTTP/1.1") from None
        except OSError as fault:
            raise self._down(f"cannot be reached: {fault.strerror or type(fault).__name__}") from None
        return self._read(head, data)

    async def _exchange(self, method: str, target: str, body: bytes | None) -> tuple[h11.Response, bytes]:
        # For `localhost` the address itself is asked: a name service has no say in where a token goes in clear.
        host = "127.0.0.1" if self.place.host == "localhost" else self.place.host
        reader, writer = await asyncio.open_connection(
            host, self.place.port, ssl=self._tls, server_hostname=self.place.host if self._tls else None
        )
        try:
            http = h11.Connection(h11.CLIENT)
            headers = [
                ("Host", self.place.authority),
                ("User-Agent", "intent-proxy"),
                ("Accept", "application/json"),
                ("Authorization", f"Bearer {self._token}"),
                ("Connection", "close"),
            ]
            if method == "POST":
                headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body or b"")))]
            writer.write(http.send(h11.Request(method=method, target=target, headers=headers)) or b"")
            if body:
                writer.write(http.send(h11.Data(data=body)) or b"")
            writer.write(http.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            return await self._answer(reader, http)
        finally:
            writer.transport.abort()  # whoever was hostile is not waited for

    async def _answer(self, reader: asyncio.StreamReader, http: h11.Connection) -> tuple[h11.Response, bytes]:
        head: h11.Response | None = None
        data, read = bytearray(), 0
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                chunk = await reader.read(_CHUNK)
                read += len(chunk)
                if read > MOST_BYTES:
                    raise self._wrong(f"answers with more than {MOST_BYTES // 1024 // 1024} MiB")
                http.receive_data(chunk)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                data += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return head, bytes(data)
            elif not isinstance(event, h11.InformationalResponse):
                raise self._wrong("broke off its answer")

    def _read(self, head: h11.Response, data: bytes) -> Mapping[str, Json]:
        status = head.status_code
        if 300 <= status < 400:
            raise self._wrong("sends elsewhere, which is not followed: name the desk itself")
        kind = next((value for name, value in head.headers if name == b"content-type"), b"").decode("latin-1")
        if kind.partition(";")[0].strip().lower() not in _JSON:
            raise self._wrong(f"answers {status} and no JSON: is it a review desk?")
        value = parse_json(data, code=Code.UPSTREAM_BROKEN, what=f"the answer of the desk {self.place}")
        if not isinstance(value, Mapping):
            raise self._wrong("answers with JSON that is no object")
        if status == 200:
            return value
        raise self._refusal(status, value)

    def _refusal(self, status: int, about: Mapping[str, Json]) -> Exception:
        """What a problem document says (RFC 9457)."""
        outcome = about.get("outcome")
        if isinstance(outcome, Mapping):
            return NotDone(outcome)
        said = " ".join(text for text in (_text(about, "detail").rstrip(".") + ".", _text(about, "mend")) if text)
        name = _text(about, "code")
        detail = f"the desk {self.place} says: {said} ({name or status})"
        if status in (429, 503):
            return Unavailable(Code.STORE_DOWN if status == 503 else Code.BUSY, detail)
        if name == "api.own_key":
            return Rejected(Code.HOLD_NOT_PERMITTED, f"{detail}: with --key PATH this is done here")
        return Rejected(next((code for code in Code if code.value == name), Code.CONFIG_INVALID), detail)

    def _wrong(self, what: str) -> Rejected:
        return Rejected(Code.UPSTREAM_BROKEN, f"the desk {self.place} {what}")

    def _down(self, what: str) -> Unavailable:
        return Unavailable(Code.UPSTREAM_CONNECT, f"the desk {self.place} {what}")


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=certifi.where() if ca is None else ca)
    except (OSError, ssl.SSLError) as fault:
        why = fault.strerror or "no certificate is in it"
        raise Rejected(Code.CONFIG_INVALID, f"the CA file {ca} cannot be read: {why}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _text(about: Mapping[str, Json], name: str) -> str:
    value = about.get(name)
    return value[:_SHORT] if isinstance(value, str) else ""
