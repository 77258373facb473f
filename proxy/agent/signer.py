"""The signer: turns a manifest and its key into the header lines that prove one request (DESIGN: the wire).

A manifest lives for days and a credential for minutes, so where the last link is long-lived the signer delegates to a
key of its own, in memory only, and renews it in time. A manifest file that was replaced is read again with the next
request: who was given a new one need not wait until the credential under the old one ends.
"""

import copy
import itertools
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from proxy.agent.keyfile import fresh_key, load_key
from proxy.core.content_digest import BodyDigests, digest_field
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.manifest import issue_child, parse_manifest
from proxy.core.model import Manifest
from proxy.core.proof import SKEW_S, read_chain, read_intent, sign_request

OWN_FIELDS = frozenset({"agent-intent", "intent-manifest", "content-digest", "signature-input", "signature"})
"""The fields a signer writes, in lower case. What a request already has of them is stale and must go first."""

ACTING_LIFE = timedelta(hours=1)
"""A link that lives no longer than this may act itself; a longer one only delegates (DESIGN: delegation)."""

LEAF_LIFE_S = 900

type Header = tuple[str, str]


def _now() -> datetime:
    return datetime.now(UTC)


class Signer:
    """Signs requests under one manifest. Safe for threads; copies made by `declaring` share credential and steps."""

    def __init__(
        self,
        manifest: str | Path,
        key: PrivateKey | str | Path,
        *,
        cluster: str | None = None,
        task: str | None = None,
        clock: Callable[[], datetime] = _now,
        leaf_life_s: int = LEAF_LIFE_S,
    ) -> None:
        """`manifest`: compact JWS, root first, separated by commas or white space, or the path of a file with them.

        `key`: the key the last of them names (`cnf`), or the path of its file. `cluster` and `task` are declared with
        every request. `leaf_life_s`: how long a credential made here lives, at most an hour.

        Raises:
            Rejected: an unreadable manifest or key, a key the manifest does not name, or a manifest that can neither
                act nor delegate.
        """
        private = key if isinstance(key, PrivateKey) else load_key(Path(key))
        self._credential = _Credential(manifest, private, clock=clock, leaf_life_s=leaf_life_s)
        self._clock = clock
        self._steps = _Steps()
        self._declare(cluster, task)

    def declaring(self, *, cluster: str | None = None, task: str | None = None) -> Self:
        """The same signer with another declaration; what is not given stays as it was.

        Raises:
            Rejected(INTENT_MALFORMED): not a cluster's id, or a task of other than 1 to 128 printable characters.
        """
        other = copy.copy(self)
        other._declare(self.cluster if cluster is None else cluster, self.task if task is None else task)
        return other

    def lasting(self, leaf_life_s: int) -> Self:
        """The same signer with a credential of its own that lives `leaf_life_s`, as a session needs."""
        other = self.declaring()
        other._credential = self._credential.lasting(leaf_life_s)
        return other

    def headers_for(
        self, method: str, url: str, headers: Iterable[Header] = (), body: bytes | BodyDigests | None = None
    ) -> tuple[Header, ...]:
        """The lines to add to one attempt of one request: every attempt needs its own.

        `url` is what the proxy will receive: scheme, the Host line's authority, raw path and query; a fragment is left
        out, and the handshake of a ws: or wss: URL is signed as the http: or https: request it is. `headers` are the
        final ones; what they have of `OWN_FIELDS` is taken as stale, so remove it from the request. `body` is whole,
        after every content coding; of one that is not in memory, its digests are.

        Raises:
            Rejected: the manifest or its last link has expired, or the request cannot be signed in the profile.
        """
        return self._sign(method, _target(url), headers, body)

    def connect_headers(self, authority: str) -> tuple[Header, ...]:
        """The lines that prove a CONNECT to `authority`, `host:port`: inside that tunnel requests may go unsigned.

        Raises:
            Rejected: as `headers_for`, or no port.
        """
        return self._sign("CONNECT", authority, (), None)

    def _sign(
        self, method: str, target: str, headers: Iterable[Header], body: bytes | BodyDigests | None
    ) -> tuple[Header, ...]:
        leaf = self._credential.current()
        ours = (*self._declaration(), ("Intent-Manifest", ", ".join(leaf.tokens)))
        if isinstance(body, BodyDigests):
            ours += (("Content-Digest", digest_field(body.sha256)),) if body.size else ()
            body = None
        kept = [line for line in headers if line[0].lower() not in OWN_FIELDS]
        proof = sign_request(
            method=method,
            target_uri=target,
            headers=[*kept, *ours],
            body=body,
            key=leaf.key,
            created=self._clock(),
            nonce=secrets.token_urlsafe(16),
        )
        return (*ours, *proof)

    def _declare(self, cluster: str | None, task: str | None) -> None:
        self.cluster, self.task = cluster, task
        for _, value in self._lines(step=0):
            read_intent(value)

    def _declaration(self) -> tuple[Header, ...]:
        return self._lines(step=self._steps.next(self.task or ""))

    def _lines(self, *, step: int) -> tuple[Header, ...]:
        named = {"cluster": self.cluster, "task": self.task}
        texts = [f"{name}={_quoted(value)}" for name, value in named.items() if value is not None]
        return (("Agent-Intent", ", ".join([*texts, f"step={step}"])),) if texts else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    """What signs at the moment: the whole chain, and the key its last link names."""

    tokens: tuple[str, ...]
    key: PrivateKey
    renew_at: datetime
    not_after: datetime


class _Credential:
    """Keeps a leaf that may act, made anew before it expires."""

    def __init__(self, source: str | Path, key: PrivateKey, *, clock: Callable[[], datetime], leaf_life_s: int) -> None:
        self._source, self._key, self._clock, self._leaf_life_s = source, key, clock, leaf_life_s
        self._lock = threading.Lock()
        self._stamp = _stamp(source)
        self._leaf = self._make()

    def lasting(self, leaf_life_s: int) -> "_Credential":
        return _Credential(self._source, self._key, clock=self._clock, leaf_life_s=leaf_life_s)

    def current(self) -> _Leaf:
        with self._lock:
            now, stamp = self._clock(), _stamp(self._source)
            if now >= self._leaf.renew_at or stamp != self._stamp:
                try:
                    self._leaf, self._stamp = self._make(), stamp
                except Rejected:
                    if now >= self._leaf.not_after:
                        raise  # until then the old one still acts: a file that is being replaced stops nobody
            return self._leaf

    def _make(self) -> _Leaf:
        tokens = read_tokens(self._source)
        chain = [parse_manifest(token) for token in tokens]
        last, now = chain[-1], self._clock()
        if last.cnf.kid != self._key.public.kid:
            detail = f"the manifest names key {last.cnf.kid} (cnf), got key {self._key.public.kid}"
            raise Rejected(Code.PROOF_KEY, f"{detail}: use the key it was made for", field="cnf")
        for link in chain:
            if not link.nbf <= now < link.exp:
                window = f"{link.nbf.isoformat()} to {link.exp.isoformat()}"
                detail = f"manifest {link.jti} of {link.sub} is valid from {window}, and now it is {now.isoformat()}"
                raise Rejected(Code.MANIFEST_WINDOW, f"{detail}: ask its sponsor to renew it", field="exp")
        if last.exp - last.iat <= ACTING_LIFE:
            return _leaf(tokens, self._key, last)
        return self._delegate(tokens, last, now)

    def _delegate(self, tokens: tuple[str, ...], last: Manifest, now: datetime) -> _Leaf:
        if last.del_depth >= last.del_max_depth:
            detail = f"manifest {last.jti} lives longer than {ACTING_LIFE} and permits no delegation"
            fix = "ask its sponsor for one with del_max_depth of at least 1"
            raise Rejected(
                Code.DELEGATION_DEPTH, f"{detail}, so nothing may act under it: {fix}", field="del_max_depth"
            )
        key = fresh_key()
        token = issue_child(
            last,
            key=self._key,
            cnf=key.public,
            jti=secrets.token_urlsafe(16),
            now=max(now - timedelta(seconds=SKEW_S), last.nbf),  # so that a proxy whose clock lags accepts it at once
            lifetime_s=min(self._leaf_life_s, int(ACTING_LIFE.total_seconds())),
        )
        return _leaf((*tokens, token), key, parse_manifest(token))


def _stamp(source: str | Path) -> tuple[int, ...]:
    """What changes when the file does; nothing for a manifest that was given as text."""
    if _is_text(source):
        return ()
    try:
        status = Path(source).stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_text(source: str | Path) -> bool:
    """Whether these are the tokens themselves: a JWS starts with `{"` in base64url."""
    return isinstance(source, str) and source.lstrip().startswith("eyJ")


def _leaf(tokens: tuple[str, ...], key: PrivateKey, last: Manifest) -> _Leaf:
    """Renewed when four fifths of its life are over."""
    return _Leaf(tokens=tokens, key=key, renew_at=last.exp - (last.exp - last.nbf) / 5, not_after=last.exp)


class _Steps:
    """Counts the calls of each task from 1."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))

    def next(self, task: str) -> int:
        with self._lock:
            return next(self._counters[task])


def read_tokens(source: str | Path) -> tuple[str, ...]:
    """The chain's tokens, from the text itself or from the file it names."""
    if isinstance(source, str) and _is_text(source):
        text = source
    else:
        try:
            text = Path(source).read_text("ascii")
        except (OSError, ValueError) as fault:
            why = fault.strerror if isinstance(fault, OSError) else "it is not ASCII text"
            raise Rejected(Code.MANIFEST_MALFORMED, f"the manifest file {source} cannot be read: {why}") from None
    return read_chain(", ".join(text.replace(",", " ").split()))


def _target(url: str) -> str:
    """The URL as it goes on the wire: no fragment, and a path even where none was written (RFC 9110 §4.2.1)."""
    scheme, separator, rest = url.partition("#")[0].partition("://")
    scheme = {"ws": "http", "wss": "https"}.get(scheme.lower(), scheme)
    end = next((at for at, char in enumerate(rest) if char in "/?"), len(rest))
    authority, path = rest[:end], rest[end:]
    return f"{scheme}{separator}{authority}{path if path.startswith('/') else '/' + path}"


def _quoted(text: str) -> str:
    """A structured-field string (RFC 9651 §4.1.6)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
