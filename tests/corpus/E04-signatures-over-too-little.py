"""Signatures of the right key that leave something of the call uncovered, or say more than the profile permits."""

import base64
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import identities
from attacks import Case, against
from shots import Lines, Shot, Spoil

from proxy.core.keys import sign

ANY_WAY = True  # also as an agent that knows of no proxy

COMPONENTS, MALFORMED, WINDOW = "proof.components", "proof.malformed", "proof.window"
CALL = Shot(
    method="POST",
    path="/v1/invoices",
    body='{"total": 12}',
    declares="supplier-invoices",
    headers=(
        ("Content-Type", "application/json"),
        ("Content-Encoding", "identity"),
        ("Authorization", "Bearer 0123456789abcdef"),
        ("Cookie", "session=0123456789abcdef"),
        ("Idempotency-Key", "0123456789abcdef"),
        ("Prefer", "handling=lenient"),
    ),
)
COVERED = (
    *("@method", "@target-uri", "content-type", "agent-intent", "intent-manifest", "content-digest"),
    *("content-encoding", "content-length", "authorization", "cookie", "idempotency-key", "prefer"),
)


class Signed:
    """Signs anew with the right key: other components, other parameters, or another label."""

    def __init__(
        self,
        components: Sequence[str] = COVERED,
        *,
        drop: str = "",
        label: str = "intent",
        in_s: int = 0,
        lifetime_s: int = 60,
        **parameters: str,
    ) -> None:
        self._components, self._drop, self._label = components, drop, label
        self._in_s, self._lifetime_s, self._parameters = in_s, lifetime_s, parameters

    def __call__(self, lines: Lines, method: str, url: str) -> Lines:
        fields = {name.lower(): value for name, value in lines}
        derived = {"@method": method, "@target-uri": url, "@authority": url.split("/")[2], "@path": CALL.path}
        inputs = self._inputs()
        base = [f"{_quoted(name)}: {({**fields, **derived})[name.partition(';')[0]]}" for name in self._components]
        message = "\n".join([*base, f'"@signature-params": {inputs}']).encode()
        signature = base64.b64encode(sign(identities.leaf_key(), message)).decode()
        rest = [line for line in lines if line[0] not in ("Signature", "Signature-Input")]
        added = [("Signature-Input", f"{self._label}={inputs}"), ("Signature", f"{self._label}=:{signature}:")]
        return [*rest, *added]

    def _inputs(self) -> str:
        created = int(datetime.now(UTC).timestamp()) + self._in_s
        parameters: dict[str, int | str] = {
            "created": created,
            "expires": created + self._lifetime_s,
            "keyid": identities.leaf_key().public.kid,
            "nonce": identities.nonce(secrets.token_hex(16)),
            "tag": "agent-intent",
            **self._parameters,
        }
        parameters.pop(self._drop, None)
        written = "".join(f";{k}={v}" if isinstance(v, int) else f';{k}="{v}"' for k, v in parameters.items())
        return f"({' '.join(map(_quoted, self._components))}){written}"


def _quoted(name: str) -> str:
    """A component identifier; `name;parameter` has its parameter outside the quotes (RFC 9421 §2)."""
    plain, semicolon, parameter = name.partition(";")
    return f'"{plain}"{semicolon}{parameter}'


def without(*names: str) -> Signed:
    return Signed([name for name in COVERED if name not in names])


def no_digest(lines: Lines, method: str, url: str) -> Lines:
    bare = [line for line in lines if line[0] != "Content-Digest"]
    return without("content-digest")(bare, method, url)


def no_signature(lines: Lines, method: str, url: str) -> Lines:
    return [line for line in lines if line[0] != "Signature"]


def no_input(lines: Lines, method: str, url: str) -> Lines:
    return [line for line in lines if line[0] != "Signature-Input"]


def two_lines(lines: Lines, method: str, url: str) -> Lines:
    return [*lines, ("Signature-Input", 'other=("@method");tag="other"')]


def two_of_ours(lines: Lines, method: str, url: str) -> Lines:
    (name, value), *_ = [line for line in lines if line[0] == "Signature-Input"]
    return [
        (key, f"{text}, second={value.removeprefix('intent=')}") if key == name else (key, text) for key, text in lines
    ]


SPOILED: dict[str, tuple[Spoil, str]] = {
    **{f"{name} is not covered": (without(name), COMPONENTS) for name in COVERED},
    "nothing is covered": (Signed(()), COMPONENTS),
    "only the method is covered": (Signed(("@method",)), COMPONENTS),
    "the body has no digest": (no_digest, COMPONENTS),
    "the path is covered in place of the URL": (
        Signed([{"@target-uri": "@path"}.get(name, name) for name in COVERED]),
        COMPONENTS,
    ),
    "the authority is covered in place of the URL": (
        Signed([{"@target-uri": "@authority"}.get(name, name) for name in COVERED]),
        COMPONENTS,
    ),
    "one component is covered twice": (Signed([*COVERED, "content-type"]), COMPONENTS),
    "more is covered than the profile has": (Signed([*COVERED, "@authority"]), COMPONENTS),
    "it has no created": (Signed(drop="created"), MALFORMED),
    "it has no expires": (Signed(drop="expires"), MALFORMED),
    "it has no nonce": (Signed(drop="nonce"), MALFORMED),
    "it has no keyid": (Signed(drop="keyid"), MALFORMED),
    "it has no tag": (Signed(drop="tag"), MALFORMED),
    "its tag is another profile's": (Signed(tag="web-bot-auth"), MALFORMED),
    "its label is another": (Signed(label="sig1"), MALFORMED),
    "it chooses its algorithm": (Signed(alg="ed25519"), MALFORMED),
    "its nonce is short": (Signed(nonce="AAAAAAAAAAAAAAAAAAAAA"), MALFORMED),
    "its nonce is padded": (Signed(nonce="AAAAAAAAAAAAAAAAAAAAAA=="), MALFORMED),
    "it lives for a second more than a minute": (Signed(lifetime_s=61), WINDOW),
    "it ends before it begins": (Signed(lifetime_s=-1), WINDOW),
    "it was made in the future": (Signed(in_s=30, lifetime_s=30), WINDOW),
    "a component is covered with a parameter": (
        Signed([{"@method": "@method;req"}.get(name, name) for name in COVERED]),
        MALFORMED,
    ),
    "two signatures bear our tag": (two_of_ours, MALFORMED),
    "its input stands on two lines": (two_lines, "request.malformed"),
    "the signature itself is missing": (no_signature, MALFORMED),
    "what it covers is missing": (no_input, MALFORMED),
}


def cases(way: str) -> Iterator[Case]:
    for name, (spoil, code) in SPOILED.items():
        yield against("E04", name, way, CALL, {"spoil": spoil}, code=code)
    yield against("E04", "it is older than a minute", way, CALL, {"age_s": 61}, code=WINDOW)
