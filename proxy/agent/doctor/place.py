"""Where the agent stands: the proxy it was told of, its papers, and how one asks the proxy from here."""

import base64
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import SplitResult, unquote

from proxy.agent.proxyurl import host_and_port, read_proxy_url
from proxy.core.errors import Code, Rejected

VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
MAX_ANSWER_BYTES = 1_048_576

type Lines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the doctor was told, by options and by the environment of whoever runs it."""

    proxy: SplitResult
    said_by: str  # "--proxy", or the variable
    environment: Mapping[str, str]
    manifest: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    timeout_s: float = 3.0

    @property
    def host(self) -> str:
        return self.proxy.hostname or ""

    @property
    def port(self) -> int:
        return self.proxy.port or 0

    @property
    def where(self) -> str:
        """Host and port, for people."""
        return host_and_port(self.host, self.port)

    @property
    def session(self) -> Lines:
        """The proof in the proxy's URL, as a header line, if there is one."""
        if self.proxy.username is None:
            return ()
        pair = f"{unquote(self.proxy.username)}:{unquote(self.proxy.password or '')}".encode()
        return (("Proxy-Authorization", f"Basic {base64.b64encode(pair).decode('ascii')}"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered, and when on this machine's clock."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    at: datetime

    @property
    def date(self) -> datetime | None:
        """The answerer's clock, to the second."""
        try:
            said = parsedate_to_datetime(self.headers["date"])
        except (KeyError, ValueError):
            return None
        return said if said.tzinfo is not None else said.replace(tzinfo=UTC)


def find_proxy(given: str | None, environment: Mapping[str, str]) -> tuple[SplitResult, str]:
    """The proxy's URL, and who said so.

    Raises:
        Rejected(CONFIG_INVALID): nobody did, or it is none.
    """
    named = [(name, environment[name]) for name in VARIABLES if environment.get(name)]
    source, url = ("--proxy", given) if given else (named or [("", "")])[0]
    if not url:
        raise Rejected(Code.CONFIG_INVALID, "which proxy? Name it with --proxy http://HOST:PORT, or in HTTPS_PROXY")
    parts = read_proxy_url(url if "://" in url else f"http://{url}")
    if parts is None:  # without what stands in it: that may be a session
        raise Rejected(Code.CONFIG_INVALID, f"{source} must be http://HOST:PORT or https://HOST:PORT", field=source)
    return parts, source


def ask(place: Place, method: str, url: str, lines: Lines = ()) -> Answer:
    """One request in absolute form to the proxy, and its answer.

    Raises:
        OSError, http.client.HTTPException: there is none.
    """
    connection = http.client.HTTPConnection(place.host, place.port)
    try:
        connection.sock = connect(place)
        with within(connection.sock, place.timeout_s):
            connection.putrequest(method, url, skip_accept_encoding=True)
            for name, value in lines:
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            body = response.read(MAX_ANSWER_BYTES)
            return Answer(status=response.status, headers=headers, body=body, at=datetime.now(UTC))
    finally:
        connection.close()


@contextmanager
def within(sock: socket.socket, timeout_s: float) -> Iterator[None]:
    """End a connection, and raise TimeoutError, when this takes longer in all: a peer may answer a byte at a time."""
    late = threading.Event()
    with socket.socket(fileno=os.dup(sock.fileno())) as same:

        def end() -> None:
            late.set()
            with suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException):
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
            timer.join()
    if late.is_set():
        raise TimeoutError


def connect(place: Place) -> socket.socket:
    """A connection to the proxy, over TLS where its URL says so.

    Raises:
        OSError: it failed, or took too long.
    """
    sock: socket.socket = socket.create_connection((place.host, place.port), timeout=place.timeout_s)
    if place.proxy.scheme == "http":
        return sock
    try:
        context = ssl.create_default_context(cafile=str(place.ca) if place.ca else None)
        with within(sock, place.timeout_s):
            return context.wrap_socket(sock, server_hostname=place.host)
    except BaseException:
        sock.close()
        raise


def tunnel(place: Place, authority: str, lines: Lines = ()) -> tuple[int, socket.socket]:
    """A CONNECT: its status, and the open connection, which is the caller's to close.

    Raises:
        OSError: the connection failed, or what came was no HTTP.
    """
    sock = connect(place)
    try:
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        with within(sock, place.timeout_s):
            sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{head}\r\n".encode("ascii"))
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = sock.recv(4096)
                if not part or len(answer) > MAX_ANSWER_BYTES:
                    raise ConnectionError("no answer to CONNECT")
                answer += part
        words = answer.split(b" ", 2)
        if len(words) < 2 or len(words[1]) != 3 or not words[1].isdigit():
            raise ConnectionError("no HTTP in the answer to CONNECT")
        return int(words[1]), sock
    except BaseException:
        sock.close()
        raise
