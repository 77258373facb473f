"""Proof of intent: what a request presents, and one strict profile of RFC 9421 signatures (DESIGN: the wire).

The profile leaves the signer no choice but the order of things, so there is nothing to negotiate and nothing to
downgrade. Signing and verifying build the same signature base with the same function.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from proxy.core.content_digest import CONTENT_DIGEST, content_digest
from proxy.core.encoding import NONCE, from_epoch, to_epoch, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.fields import (
    Lines,
    Member,
    SignatureInput,
    dictionary,
    lines,
    one_line,
    read_signature,
    read_signature_input,
)
from proxy.core.keys import PrivateKey, sign, verifies
from proxy.core.manifest import MAX_DEPTH, NAME
from proxy.core.model import Evidence, Intent, Proof, PublicKey, Received

AGENT_INTENT = "agent-intent"
INTENT_MANIFEST = "intent-manifest"
SIGNATURE = "signature"
SIGNATURE_INPUT = "signature-input"
PROXY_AUTHORIZATION = "proxy-authorization"

LABEL = "intent"
TAG = "agent-intent"
MAX_AGE_S = 60
SKEW_S = 5
MAX_STEP = 1_000_000_000

_PARAMETERS = frozenset({"created", "expires", "keyid", "nonce", "tag"})
_CONNECT_FIELDS = (AGENT_INTENT, INTENT_MANIFEST)
_FIELDS = (
    "content-type",
    AGENT_INTENT,
    INTENT_MANIFEST,
    CONTENT_DIGEST,
    "content-encoding",
    "content-length",
    "authorization",
    "cookie",
    "idempotency-key",
    "prefer",
)

_TASK = re.compile(r"[\x20-\x7e]{1,128}")
# The common case, without the general parser: plain members in this order, none of which needs escaping.
_PLAIN_INTENT = re.compile(
    r'cluster="(?P<cluster>[a-z0-9][a-z0-9._-]{0,63})"(?:, task="(?P<task>[A-Za-z0-9._:-]{1,128})")?'
    r"(?:, step=(?P<step>[0-9]{1,9}))?"
)
_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_AUTHORITY = re.compile(r"[\x21-\x7e]+:[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """Which evidence a request presents. Evidence that is presented and fails is a denial, never a fallback."""

    signature: bool
    session: bool


def present(found: Lines) -> Presented:
    """What the lines of a request head offer as proof; nothing of it is verified here.

    `signature`: an Intent-Manifest, or a Signature or Signature-Input with our label or tag, or one that mentions
    intent and cannot be read. `session`: a Proxy-Authorization of whatever scheme.
    """
    values = [*found.get(SIGNATURE_INPUT, ()), *found.get(SIGNATURE, ())]
    return Presented(
        signature=INTENT_MANIFEST in found or any(_is_ours(value) for value in values),
        session=PROXY_AUTHORIZATION in found,
    )


def _is_ours(value: bytes) -> bool:
    if LABEL.encode() not in value:  # the tag contains the label
        return False
    try:
        members = dictionary(value.decode("latin-1"), code=Code.PROOF_MALFORMED, field=SIGNATURE)
    except Rejected:
        return True
    return any(label == LABEL or member.params.get("tag") == TAG for label, member in members.items())


def read_intent(value: str) -> Intent:
    """What `Agent-Intent` declares: `cluster` and `task` strings, `step` an integer; any may be absent, not all.

    Not checked here: that the cluster exists or was granted.

    Raises:
        Rejected(INTENT_MALFORMED): another key, type or parameter, or a value out of bounds.
    """
    plain = _PLAIN_INTENT.fullmatch(value)
    if plain is not None:
        cluster, task, step = plain["cluster"], plain["task"], plain["step"]
        return Intent(cluster=cluster, task=task, step=None if step is None else int(step), raw=value)
    code = Code.INTENT_MALFORMED
    members = dictionary(value, code=code, field=AGENT_INTENT)
    if not members or not members.keys() <= {"cluster", "task", "step"} or any(m.params for m in members.values()):
        got = ", ".join(name[:64] for name in members)
        detail = (
            f"{AGENT_INTENT} must have cluster, task or step, nothing else and no parameters, got {got or 'nothing'}"
        )
        raise Rejected(code, detail, field=AGENT_INTENT)
    step = members["step"].value if "step" in members else 0
    if type(step) is not int or not 0 <= step <= MAX_STEP:
        raise Rejected(code, f"step must be an integer from 0 to {MAX_STEP}", field="step")
    return Intent(
        cluster=_string(members, "cluster", NAME, 'the id of a task cluster, as in cluster="invoices"'),
        task=_string(members, "task", _TASK, 'a string of 1 to 128 characters, as in task="T-1"'),
        step=step if "step" in members else None,
        raw=value,
    )


def _string(members: Mapping[str, Member], name: str, pattern: re.Pattern[str], expected: str) -> str | None:
    if name not in members:
        return None
    value = members[name].value
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Rejected(Code.INTENT_MALFORMED, f"{name} must be {expected}", field=name)
    return value


@lru_cache(maxsize=256)  # and sends the same chain with each
def read_chain(value: str) -> tuple[str, ...]:
    """The tokens of `Intent-Manifest`, root first: 1 to 4 compact JWS, separated by commas.

    Not checked here: anything inside the tokens.

    Raises:
        Rejected(MANIFEST_MALFORMED): none, too many, or something that is not shaped like a JWS.
    """
    tokens = tuple(part.strip(" \t") for part in value.split(","))
    if len(tokens) > MAX_DEPTH + 1 or not all(_JWS.fullmatch(token) for token in tokens):
        detail = f"{INTENT_MANIFEST} must be 1 to {MAX_DEPTH + 1} compact JWS, separated by commas, the root first"
        raise Rejected(Code.MANIFEST_MALFORMED, detail, field=INTENT_MANIFEST)
    return tokens


def target_uri(received: Received) -> str:
    """What the signer called `@target-uri`, as received; for CONNECT what it called `@authority` (RFC 9421 §2.2).

    From the scheme of the connection, the Host line and the raw path and query; in absolute form the authority is
    the request line's (RFC 9112 §3.3), in HTTP/2 it is `:authority`. Nothing is decoded or made canonical: that comes
    after verification, as does the check that Host, SNI and tunnel agree.

    Raises:
        Rejected(URL_AMBIGUOUS): no Host or several in origin form, or bytes that cannot stand in a URL.
    """
    code = Code.URL_AMBIGUOUS
    authority, target = received.authority, received.target
    if received.form == "origin" and not received.http2:
        authority = (one_line(received.lines, "host", code=code) or "").encode("ascii")
    text = (authority + target).decode("latin-1")
    if not authority or not _VISIBLE.fullmatch(text):
        raise Rejected(code, "the URL must have one host and only visible ASCII characters", field="host")
    return text if received.form == "authority" else f"{received.scheme}://{text}"


def sign_request(
    *,
    method: str,
    target_uri: str,
    headers: Sequence[tuple[str, str]],
    body: bytes | None,
    key: PrivateKey,
    created: datetime,
    nonce: str,
    lifetime_s: int = MAX_AGE_S,
) -> tuple[tuple[str, str], ...]:
    """The header lines to add: Content-Digest where there is a body and none yet, Signature-Input and Signature.

    `headers` are the final ones, Agent-Intent and Intent-Manifest among them: a covered line added later (a
    Content-Length, a cookie) breaks the signature. For CONNECT `target_uri` is `host:port`.

    Raises:
        Rejected(PROOF_*): the request cannot be signed in the profile, or is signed already.
    """
    added: list[tuple[str, str]] = []
    if body and method != "CONNECT" and all(name.lower() != CONTENT_DIGEST for name, _ in headers):
        added.append(("Content-Digest", content_digest(body)))
    found = lines((name.encode("utf-8"), value.encode("utf-8")) for name, value in [*headers, *added])
    if SIGNATURE in found or SIGNATURE_INPUT in found:
        raise Rejected(Code.PROOF_MALFORMED, "the request is signed already: remove the old signature first")
    issued = to_epoch(created)
    signature_input = SignatureInput(
        components=_profile(method, found),
        parameters={
            "created": issued,
            "expires": issued + lifetime_s,
            "keyid": key.public.kid,
            "nonce": nonce,
            "tag": TAG,
        },
    )
    _check_parameters(signature_input.parameters, now=created)
    signature = sign(key, _signature_base(signature_input, method=method, target_uri=target_uri, found=found))
    encoded = base64.b64encode(signature).decode("ascii")
    return (*added, ("Signature-Input", f"{LABEL}={signature_input}"), ("Signature", f"{LABEL}=:{encoded}:"))


def verify_signature(received: Received, *, target_uri: str, key: PublicKey, now: datetime) -> Evidence:
    """Verify the one signature of our profile over a request head (RFC 9421 §3.2).

    `target_uri` is `target_uri(received)`. Not checked here: the body against Content-Digest (it comes after the
    head: `check_content_digest`), the nonce against those spent, and that `key` is the leaf's.

    Raises:
        Rejected(PROOF_MALFORMED): Signature or Signature-Input is missing, on several lines or unreadable.
        Rejected(PROOF_WINDOW): not created within the last 60 s, or past its expiry.
        Rejected(PROOF_KEY): made with another key than `key`.
        Rejected(PROOF_COMPONENTS): covers less, or more, than the profile demands of this request.
        Rejected(PROOF_SIGNATURE): not the key's signature over this request.
    """
    method = received.method.decode("latin-1")
    found = received.lines
    # 1. Exactly one signature bears our label and tag, each field on one line (§4).
    signature_input = read_signature_input(_required(found, SIGNATURE_INPUT), label=LABEL, tag=TAG)
    signature = read_signature(_required(found, SIGNATURE), label=LABEL)
    # 2. Exactly the parameters of the profile, and fresh (§2.3). No `alg`: it belongs to the key (RFC 9864).
    evidence = _check_parameters(signature_input.parameters, now=now, connect=method == "CONNECT")
    # 3. Made with the key the mandate names.
    if evidence.keyid != key.kid:
        detail = f"signed with key {evidence.keyid}, but the mandate names key {key.kid}"
        raise Rejected(Code.PROOF_KEY, detail, field="keyid")
    # 4. Exactly the components of the profile, in any order (§7.2.1).
    expected, got = _profile(method, found), signature_input.components
    if sorted(expected) != sorted(got):
        detail = f"the signature must cover exactly {' '.join(expected)}, each once; it covers {' '.join(got)[:400]}"
        raise Rejected(Code.PROOF_COMPONENTS, detail, field=SIGNATURE_INPUT)
    # 5. The signature fits the base (§2.5).
    base = _signature_base(signature_input, method=method, target_uri=target_uri, found=found)
    if not verifies(key, base, signature):
        detail = "the signature does not fit: the method, the URL or a covered header is not what was signed"
        raise Rejected(Code.PROOF_SIGNATURE, detail, field=SIGNATURE)
    return evidence


def _profile(method: str, found: Lines) -> tuple[str, ...]:
    """The components a signature of this request must cover, whoever makes or checks it."""
    if INTENT_MANIFEST not in found:
        raise Rejected(Code.PROOF_COMPONENTS, "a signed request must carry Intent-Manifest", field=INTENT_MANIFEST)
    if method == "CONNECT":
        return ("@method", "@authority", *(name for name in _CONNECT_FIELDS if name in found))
    announced = "transfer-encoding" in found or any(length.strip(b"0") for length in found.get("content-length", ()))
    if announced and CONTENT_DIGEST not in found:
        raise Rejected(
            Code.PROOF_COMPONENTS, "a signed request with a body must carry Content-Digest", field=CONTENT_DIGEST
        )
    return ("@method", "@target-uri", *(name for name in _FIELDS if name in found))


def _check_parameters(parameters: Mapping[str, int | str], *, now: datetime, connect: bool = False) -> Evidence:
    """Exactly the parameters of the profile, within their window. Whole seconds: `expires` itself is past."""
    if parameters.keys() != _PARAMETERS:
        detail = f"must be exactly {', '.join(sorted(_PARAMETERS))}, got {', '.join(sorted(parameters))[:200]}"
        raise Rejected(Code.PROOF_MALFORMED, f"the signature parameters {detail}", field=SIGNATURE_INPUT)
    created, expires = parameters["created"], parameters["expires"]
    keyid, nonce = parameters["keyid"], parameters["nonce"]
    if not (
        isinstance(created, int) and isinstance(expires, int) and isinstance(keyid, str) and isinstance(nonce, str)
    ):
        detail = "created and expires must be integers, keyid and nonce strings"
        raise Rejected(Code.PROOF_MALFORMED, detail, field=SIGNATURE_INPUT)
    if not NONCE.fullmatch(nonce):
        raise Rejected(Code.PROOF_MALFORMED, "nonce must be 128 to 512 bits in base64url", field="nonce")
    unb64u(nonce, code=Code.PROOF_MALFORMED, field="nonce")
    if not 0 < expires - created <= MAX_AGE_S:
        detail = f"expires must be at most {MAX_AGE_S} s after created, got {expires - created} s"
        raise Rejected(Code.PROOF_WINDOW, detail, field="expires")
    moment = now.timestamp()
    if not created - SKEW_S <= moment < expires:  # with the line above: created at most 60 s ago
        detail = f"signed {moment - created:.0f} s ago for {expires - created} s: sign again, or set the clock"
        raise Rejected(Code.PROOF_WINDOW, detail, field="created")
    proof = Proof.TUNNEL if connect else Proof.REQUEST
    return Evidence(proof=proof, keyid=keyid, created=from_epoch(created), nonce=nonce)


def _signature_base(signature_input: SignatureInput, *, method: str, target_uri: str, found: Lines) -> bytes:
    """The signature base (RFC 9421 §2.5), the same for signing and for verifying."""
    derived = {"@method": method, "@target-uri": target_uri, "@authority": target_uri.lower()}
    pattern = _AUTHORITY if method == "CONNECT" else _VISIBLE
    if not _VISIBLE.fullmatch(method) or not pattern.fullmatch(target_uri):
        detail = "the method and the URL must be visible ASCII; for CONNECT host and port"
        raise Rejected(Code.PROOF_MALFORMED, detail, field="@target-uri")
    rows = []
    for name in signature_input.components:
        value = derived[name] if name in derived else _required(found, name)
        rows.append(f'"{name}": {value}\n')
    return f'{"".join(rows)}"@signature-params": {signature_input}'.encode("ascii")


def _required(found: Lines, name: str) -> str:
    value = one_line(found, name, code=Code.PROOF_MALFORMED)
    if value is None:
        raise Rejected(Code.PROOF_MALFORMED, f"a signed request must carry {name}", field=name)
    return value
