"""What is fuzzed: every parser of the core that reads a stranger's bytes, each as a function of one byte string.

A target returns whether the bytes were accepted, and lets every exception but `Rejected` out: that is the finding.
Beyond it, some assert what must hold of whatever was accepted, such as that the canonical form is a fixed point.
`seeds` are whole and good inputs, and the attacks of the corpus: the fuzzer changes them.
"""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import brotli
import heads
import identities
import yaml
import zstandard
from authenticators import ORIGIN, RP_ID, authenticator

from proxy.core.bodies.coding import BodyCaps, decoded
from proxy.core.bodies.forms import read_form
from proxy.core.bodies.graphql import read_graphql
from proxy.core.bodies.json import read_json
from proxy.core.bodies.llm import read_llm
from proxy.core.bodies.media import check_charset, parse_media_type
from proxy.core.bodies.multipart import read_multipart
from proxy.core.bodies.pointers import find, parse_pointer
from proxy.core.bodies.rpc import read_rpc
from proxy.core.bodies.rules import LlmShape
from proxy.core.bodies.schema import compile_schema
from proxy.core.canonical import (
    canonical_connect,
    canonical_path,
    canonical_query,
    canonicalise,
    with_body,
)
from proxy.core.content_digest import check_content_digest
from proxy.core.digest import call_digest
from proxy.core.encoding import b64u, canonical_json, parse_json
from proxy.core.errors import Code, Rejected
from proxy.core.fields import dictionary, lines, one_line, read_signature, read_signature_input
from proxy.core.forwarding import forwardable, with_length
from proxy.core.headers import Limits, check_head, with_one_cookie
from proxy.core.jws import Envelope, check_signature, open_envelope, seal
from proxy.core.keys import ED25519, one_form
from proxy.core.manifest import MANIFEST_TYP, detail_claims, parse_manifest
from proxy.core.model import Call, Leg, Passkey, Received, ReviewDesk
from proxy.core.names import canonical_host, parse_authority
from proxy.core.passkeys import WEBAUTHN, check_assertion, read_assertion, read_registration
from proxy.core.problems import read_prefer
from proxy.core.proof import LABEL, TAG, present, read_chain, read_intent, target_uri
from proxy.core.proof import verify_signature as verify
from proxy.core.session import read_basic
from proxy.core.sponsoring import sponsored_challenge

CAPS, STICK = BodyCaps(), authenticator(identities.SPONSOR)
CORPUS = Path(__file__).parents[1] / "corpus"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One parser, or a few that belong together."""

    name: str
    accepts: Callable[[bytes], bool]
    seeds: Callable[[], Iterable[bytes]]


def accepted(read: Callable[[], object]) -> bool:
    """Whether it was read; a refusal must have a code and say something."""
    try:
        read()
    except Rejected as fault:
        assert isinstance(fault.code, Code)
        assert fault.detail
        return False
    return True


# --- heads -----------------------------------------------------------------------------------------------------------

FORMS = {b"absolute": "absolute", b"origin": "origin", b"h2": "origin", b"authority": "authority"}


def received(data: bytes) -> tuple[Received, Leg]:
    """A head from `METHOD form scheme authority target`, header lines `name: value`, an empty line and the body."""
    head, _, body = data.partition(b"\n\n")
    first, *rest = head.split(b"\n")
    method, form, scheme, authority, target = (*first.split(b" ", 4), b"", b"", b"", b"")[:5]
    of = Received(
        method=method,
        scheme=scheme.decode("latin-1"),
        form=FORMS.get(form, "absolute"),
        authority=authority,
        target=target,
        headers=tuple((name, value) for name, _, value in (line.partition(b": ") for line in rest)),
        body=body or None,
        http2=form == b"h2",
    )
    if of.form != "origin":
        return of, heads.OUTSIDE
    return of, heads.INSIDE if of.scheme == "https" else heads.INSIDE_PLAIN


def written(of: Received) -> bytes:
    """The bytes that `received` reads as this head."""
    form = b"h2" if of.http2 else of.form.encode()
    first = b" ".join([of.method, form, of.scheme.encode("latin-1"), of.authority, of.target])
    return b"\n".join([first, *(name + b": " + value for name, value in of.headers)]) + b"\n\n" + (of.body or b"")


def whole(data: bytes) -> Call:
    """The canonical call of these bytes, with its body."""
    of, leg = received(data)
    call = canonicalise(of, leg)
    return call if of.body is not None or call.websocket else with_body(call, b"abc")


def canonical(data: bytes) -> bool:
    def read() -> None:
        call = whole(data)
        assert canonicalise(heads.as_received(call), heads.OUTSIDE) == call, "the canonical form is no fixed point"
        assert (canonical_path(call.path), canonical_query(call.query)) == (call.path, call.query)
        assert (canonical_host(call.host), call.url.isascii()) == (call.host, True)

    return accepted(read)


def head(data: bytes) -> bool:
    of, _ = received(data)
    read_prefer(of.headers)
    accepted(lambda: canonical_connect(of))

    def read() -> None:
        check_head(of, Limits())
        kept = forwardable(with_one_cookie(of.headers))
        again = tuple((name.encode("ascii"), value.encode("ascii")) for name, value in with_length(kept, 3))
        assert forwardable(again) == with_length(kept, 3), "what goes on is not what goes on of it"

    return accepted(read)


def urls(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape") if data[:1] == b"\xff" else data.decode("latin-1")

    def fixed(read: Callable[[str], str]) -> bool:
        return accepted(lambda: _same(read(text), read))

    found = [fixed(canonical_path), fixed(canonical_query), fixed(canonical_host)]
    return any(
        [*found, accepted(lambda: parse_authority(text, "https")), accepted(lambda: parse_authority(text, None))]
    )


def _same(value: str, read: Callable[[str], str]) -> None:
    assert read(value) == value, "the canonical form is no fixed point"


def digest(data: bytes) -> bool:
    """Two forms are the same call only if their parts are, whatever the bytes; and no body breaks the digest."""

    def read() -> None:
        call = whole(data)
        one, other = (_digest(replace(call, body=body)) for body in (call.body, b"x"))
        assert one != other or call.body == b"x"

    return accepted(read)


def _digest(call: Call) -> str:
    return call_digest(call, deployment="d", root_id="r", sub_path="s", cluster="c", task="t", keyed_hash=str.upper)


MULTIPART = (
    b'--XyZ\r\nContent-Disposition: form-data; name="a"\r\n\r\nhello\r\n'
    b'--XyZ\r\nContent-Disposition: form-data; name="f"; filename="b.txt"\r\nContent-Type: text/plain\r\n\r\nx\r\n'
    b"--XyZ--\r\n"
)


@cache
def head_seeds() -> tuple[bytes, ...]:
    """Good heads in every form, a signed one, and every attack of the corpus that is written as data."""
    good = [
        heads.absolute("https://erp.example/v1/a%2fb?x=%7e&y=1+2", "Accept: */*", "Cookie: a=b", body=b"hello"),
        heads.absolute("http://[2001:db8::1]:8080/", "Connection: close, x-hop", "X-Hop: 1", "Prefer: wait=5, x"),
        heads.absolute("http://erp.example:80/?", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST"),
        heads.absolute("http://erp.example/", 'Signature-Input: intent=("a"), b=("c")', "Signature: intent=:AA==:"),
        heads.absolute("http://erp.example/", *heads.OPENING),
        heads.absolute(
            "http://erp.example/", "Content-Type: multipart/form-data; boundary=XyZ", method="POST", body=MULTIPART
        ),
        heads.origin("/v1/invoices/17?limit=2"),
        heads.http2("/v1/invoices/17", "cookie: a=b", "cookie: c=d", "te: trailers"),
        heads.connect(),
        _signed(),
    ]
    return (*map(written, good), *corpus_seeds())


def _signed() -> Received:
    tokens = identities.chain()
    url, body = "http://erp.example/v1/invoices", b'{"amount":12}'
    added = identities.signed_headers("POST", url, tokens=tokens, body=body)
    return replace(
        heads.absolute(url, method="POST", body=body),
        headers=heads.lines("Host: erp.example", *(f"{name}: {value}" for name, value in added)),
    )


def corpus_seeds() -> Iterator[bytes]:
    for path in sorted(CORPUS.glob("*.yaml")):
        document: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
        for attack in document["attacks"]:
            shot = {**document.get("call", {}), **attack}
            authority = str(shot.get("authority", "erp.example"))
            hosts = shot.get("host") or [authority]
            told = [("Host", host) for host in ([hosts] if isinstance(hosts, str) else hosts)]
            more = [(str(name), str(value)) for name, value in shot.get("headers", [])]
            first = f"{shot.get('method', 'GET')} absolute http {authority} {shot.get('path', '/')}"
            text = "\n".join([first, *(f"{name}: {value}" for name, value in (*told, *more))]) + "\n\n"
            yield (text + str(shot.get("body", ""))).replace("{port}", "80").replace("{proxy}", "81").encode()


# --- bodies ----------------------------------------------------------------------------------------------------------

CODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def coding(data: bytes) -> bool:
    name, _, body = data.partition(b"\n")
    headers = (("Content-Encoding", name.decode("latin-1")),)
    caps = BodyCaps(decoded_bytes=1_048_576)

    def read() -> None:
        assert len(decoded(headers, body, caps)) <= caps.decoded_bytes

    return accepted(read)


def media(data: bytes) -> bool:
    def read() -> None:
        found = parse_media_type(data.decode("latin-1"))
        plain = found.type + "".join(f'; {name}="{value}"' for name, value in found.parameters.items())
        assert parse_media_type(plain) == found
        accepted(lambda: check_charset(found, data))

    return accepted(read)


def json(data: bytes) -> bool:
    def read() -> None:
        document = read_json(data, CAPS)
        accepted(lambda: find(document, ("*", "a", "*")))
        try:
            text = canonical_json(document)
        except ValueError:  # a fraction, or an integer beyond 2^53
            return
        assert parse_json(text, code=Code.BODY_MALFORMED, what="it") == document

    return accepted(read)


def form(data: bytes) -> bool:
    return accepted(lambda: read_form(data, CAPS))


def multipart(data: bytes) -> bool:
    def read() -> None:
        parts = read_multipart(data, parse_media_type("multipart/form-data; boundary=XyZ"), CAPS)
        assert sum(len(part.data) for part in parts) < len(data)

    return accepted(read)


def pointer(data: bytes) -> bool:
    return accepted(lambda: find({"a": [{"b": 1}], "": {}}, parse_pointer(data.decode("latin-1"))))


def graphql(data: bytes) -> bool:
    alone = accepted(lambda: read_graphql({"query": data.decode("utf-8", "replace")}))
    return accepted(lambda: read_graphql(read_json(data, CAPS))) or alone


def rpc(data: bytes) -> bool:
    return accepted(lambda: read_rpc(read_json(data, CAPS)))


def llm(data: bytes) -> bool:
    def read(shape: LlmShape) -> bool:
        return accepted(lambda: read_llm(read_json(data, CAPS), shape))

    return sum(map(read, LlmShape)) > 0  # all of them, whatever the first says


def schema(data: bytes) -> bool:
    def read() -> None:
        document = read_json(data, CAPS)
        accepted(lambda: compile_schema(document).faults(document))

    return accepted(read)


def json_seeds() -> Iterator[bytes]:
    yield from (
        b'{"a":[1,2.5,-0,true,false,null,"\\u00e9\\ud83d\\ude00"],"b":{"c":{}}}',
        b'{"amount":1,"Amount":2}',
        b"[NaN]",
        b"[1e400,1e-400,18446744073709551616]",
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        b"[" * 70 + b"]" * 70,
        '{"query":"{ a }"}'.encode("utf-16"),
    )


def graphql_seeds() -> Iterator[bytes]:
    query = (
        "query Q($a: Int = 1) @x { a: b(c: {d: [1, $a, E]}) ...F ... on T @skip(if: true) { e } } fragment F on T { g }"
    )
    yield query.encode()
    yield b'mutation { pay(amount: 12, note: "x", long: """y""") { id } } subscription S { s }'
    yield b'{"query":"query A { a } query B { b }","operationName":"B","variables":{"a":1},"extensions":{}}'
    yield b'[{"query":"{ a }"},{"query":"{ b }"}]'


def rpc_seeds() -> Iterator[bytes]:
    yield b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{"q":"x"}}}'
    yield b'[{"jsonrpc":"2.0","method":"ping"},{"jsonrpc":"2.0","id":"a","result":{}}]'
    yield b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x"}}'


def llm_seeds() -> Iterator[bytes]:
    yield (
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a.example/b"}}]}],'
        b'"tools":[{"type":"function","function":{"name":"f"}}],"max_tokens":5,"n":2,"stream":true,"web_search_options":{}}'
    )
    yield (
        b'{"model":"m","input":"x","tools":[{"type":"mcp","server_url":"https://a.example/mcp"},{"type":"web_search"},'
        b'{"type":"code_interpreter","container":{"network_policy":{"allowed_domains":["a.example"]}}}],"max_output_tokens":5}'
    )
    yield (
        b'{"model":"m","messages":[],"max_tokens":5,"mcp_servers":[{"url":"https://a.example/"}],'
        b'"tools":[{"name":"f","input_schema":{}},{"type":"web_search_20250305","name":"w"}]}'
    )


def schema_seeds() -> Iterator[bytes]:
    yield (
        b'{"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"pattern":"^[a-z]+$","format":"uri"},'
        b'"c":{"$ref":"#/$defs/x"}},"required":["a"],"additionalProperties":false,"$defs":{"x":{"enum":[1,"x"]}}}'
    )
    yield b'{"anyOf":[{"const":{}},{"not":{"items":true}}],"if":true,"then":{"maxProperties":9},"uniqueItems":true}'


# --- what is signed --------------------------------------------------------------------------------------------------


def manifest(data: bytes) -> bool:
    return accepted(lambda: parse_manifest(data.decode("latin-1")))


def claims(data: bytes) -> bool:
    """The payload alone, so that the fuzzer need not learn base64; with a passkey's assertion, that is read, too."""
    parts = ({"typ": MANIFEST_TYP, "alg": ED25519, "kid": identities.key("x").public.kid}, data, bytes(64))
    token = ".".join(b64u(part if isinstance(part, bytes) else canonical_json(part)) for part in parts)

    def read() -> None:
        found = parse_manifest(token)
        for grant in found.grants:
            canonical_json(detail_claims(grant))

    whole = open_envelope(token, typ=MANIFEST_TYP, code=Code.MANIFEST_MALFORMED) if accepted(read) else None
    if whole is not None and WEBAUTHN in whole.claims:
        assertion = read_assertion(whole.claims[WEBAUTHN])
        accepted(lambda: _asserted(whole, replace(STICK.passkey, id=assertion.credential)))
        accepted(
            lambda: read_registration(
                assertion.client_data, assertion.authenticator_data, challenge=b"x", rp_id=RP_ID, origin=ORIGIN
            )
        )
    return whole is not None


def _asserted(envelope: Envelope, passkey: Passkey) -> None:
    """As a node reads what a passkey signed, whichever it was."""
    assertion = read_assertion(envelope.claims[WEBAUTHN])
    one_form(passkey.key, assertion.signature)
    challenge = sponsored_challenge(envelope.claims, typ=envelope.typ, kid=envelope.kid)
    check_assertion(assertion, challenge=challenge, passkeys=(passkey,), desk=ReviewDesk(origins=(ORIGIN,)))


def jws(data: bytes) -> bool:
    typ, _, token = data.decode("latin-1").partition("\n")

    def read() -> None:
        envelope = open_envelope(token, typ=typ, code=Code.STATEMENT_INVALID)
        accepted(lambda: check_signature(envelope, identities.key("x").public, code=Code.STATEMENT_INVALID))

    return accepted(read)


def fields(data: bytes) -> bool:
    text, code = data.decode("latin-1"), Code.PROOF_MALFORMED
    return any(
        [
            accepted(lambda: dictionary(text, code=code, field="x")),
            accepted(lambda: read_signature_input(text, label=LABEL, tag=TAG)),
            accepted(lambda: read_signature(text, label=LABEL)),
            accepted(lambda: read_intent(text)),
            accepted(lambda: read_chain(text)),
            accepted(lambda: read_basic(text)),
        ]
    )


def proof(data: bytes) -> bool:
    of, _ = received(data)
    found, key = lines(of.headers), identities.leaf_key().public
    present(of.lines)
    intact = accepted(lambda: check_content_digest(of.lines, of.body or b""))
    accepted(lambda: read_intent(one_line(found, "agent-intent", code=Code.INTENT_MALFORMED) or ""))
    accepted(lambda: read_chain(one_line(found, "intent-manifest", code=Code.MANIFEST_MALFORMED) or ""))

    def read() -> None:
        uri = target_uri(of)
        verify(of, target_uri=uri, key=key, now=identities.NOW)

    return accepted(read) and intact


def signed_seeds() -> Iterator[bytes]:
    yield written(_signed())
    yield from head_seeds()


def field_seeds() -> Iterator[bytes]:
    for of in (_signed(),):
        yield from (value for _, value in of.headers)
    yield b'a=1, b="x";p=?1, c=(1 "a" tok), d=:AA==:, e=@1, f=1.5, g=%"x"'
    yield b"Basic bTpz"


def _by_passkey() -> str:
    """A root that a passkey signed at the desk; by Ed25519, which signs alike in every run."""
    drafted = identities.claims_of(identities.root())
    stick, desk = authenticator(identities.SPONSOR, alg=ED25519), identities.key("desk")
    assertion = stick.sign(sponsored_challenge(drafted, typ=MANIFEST_TYP, kid=desk.public.kid)).as_claim()
    return seal({**drafted, WEBAUTHN: assertion}, typ=MANIFEST_TYP, key=desk)


def manifest_seeds() -> Iterator[bytes]:
    yield from (token.encode() for token in (*identities.chain(), _by_passkey()))


def claim_seeds() -> Iterator[bytes]:
    for token in (*identities.chain(), _by_passkey()):
        payload = parse_manifest(token).signing_input.partition(b".")[2]
        yield identities.unb64u(payload.decode(), code=Code.MANIFEST_MALFORMED, field="payload")


def jws_seeds() -> Iterator[bytes]:
    yield from (MANIFEST_TYP.encode() + b"\n" + token for token in manifest_seeds())


def coding_seeds() -> Iterator[bytes]:
    for name, coder in CODERS.items():
        yield from (name + b"\n" + coder(data) for data in (b"", b'{"amount":12}' * 9, bytes(70_000)))


def broken(data: bytes) -> bool:
    """What a finding looks like: it raises something else as soon as three bytes are guessed."""
    if data[:1] == b"a" and data[1:2] == b"b" and data[2:3] == b"c":
        raise KeyError(data)
    return True


BROKEN = Target(name="broken", accepts=broken, seeds=lambda: [b"xyz"])
"""Not one of `TARGETS`: it shows that the fuzzer finds what there is."""

TARGETS = {
    target.name: target
    for target in (
        Target(name="canonical", accepts=canonical, seeds=head_seeds),
        Target(name="head", accepts=head, seeds=head_seeds),
        Target(
            name="urls",
            accepts=urls,
            seeds=lambda: [
                b"/a/%2e%2E/b%2fc",
                b"a=b&c=%25",
                b"[::ffff:1.2.3.4]:0443",
                b"xn--bcher-kva.example.:80",
                b"/a/",
            ],
        ),
        Target(name="digest", accepts=digest, seeds=head_seeds),
        Target(name="coding", accepts=coding, seeds=coding_seeds),
        Target(
            name="media",
            accepts=media,
            seeds=lambda: [b'multipart/form-data; boundary="a"; charset=utf-8', b"application/json;", b"a/b; x*0=y"],
        ),
        Target(name="json", accepts=json, seeds=json_seeds),
        Target(
            name="form",
            accepts=form,
            seeds=lambda: [b"a=1&b=%C3%A9+x&&c", b"amount=1&Amount=2", b"a=1;b=2", b"_charset_=x", b"%EF%BB%BFa=1"],
        ),
        Target(name="multipart", accepts=multipart, seeds=lambda: [MULTIPART]),
        Target(name="pointer", accepts=pointer, seeds=lambda: [b"/a/0/b", b"/a/*/B", b"/~0~1", b""]),
        Target(name="graphql", accepts=graphql, seeds=graphql_seeds),
        Target(name="rpc", accepts=rpc, seeds=rpc_seeds),
        Target(name="llm", accepts=llm, seeds=llm_seeds),
        Target(name="schema", accepts=schema, seeds=schema_seeds),
        Target(name="manifest", accepts=manifest, seeds=manifest_seeds),
        Target(name="claims", accepts=claims, seeds=claim_seeds),
        Target(name="jws", accepts=jws, seeds=jws_seeds),
        Target(name="fields", accepts=fields, seeds=field_seeds),
        Target(name="proof", accepts=proof, seeds=signed_seeds),
    )
}
