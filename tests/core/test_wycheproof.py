"""Project Wycheproof's vectors: every signature they call invalid is refused, every valid one accepted.

Two differences, both ours and both asserted: of ECDSA's two signatures for one message only the one with low s is
accepted, so that a signature has one form; and none of the JWS vectors is a statement of ours, because our header has
a `typ` and a thumbprint for its `kid`. Their signatures are judged one layer below, where headers have been read.
"""

import json

import pytest
import vectors

from proxy.core.encoding import Json, b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.jws import Envelope, check_signature, open_envelope
from proxy.core.keys import ES256, from_jwk, verifies
from proxy.core.model import PublicKey

CODE = Code.STATEMENT_INVALID
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def public_key(members: dict[str, Json]) -> PublicKey:
    """The key alone: Wycheproof's JWK have a `kid`, and say what they are for."""
    names = ("kty", "crv", "x", "y")
    return from_jwk({name: members[name] for name in names if name in members}, code=CODE, field="key")


def low(signature: bytes) -> bytes:
    """The other of the two signatures, where this one has high s; anything else as it is."""
    s = int.from_bytes(signature[32:])
    return signature[:32] + (ORDER - s).to_bytes(32) if len(signature) == 64 and ORDER // 2 < s < ORDER else signature


def test_ed25519() -> None:
    seen = {"valid": 0, "invalid": 0}
    for group in vectors.wycheproof("ed25519"):
        key = public_key(group["publicKeyJwk"])
        for case in group["tests"]:
            accepted = verifies(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert accepted is (case["result"] == "valid"), f"tcId {case['tcId']}: {case['comment']}"
            seen[case["result"]] += 1
    assert seen == {"valid": 88, "invalid": 63}


def test_es256_where_high_s_is_refused_too() -> None:
    seen = {"valid": 0, "valid but high s": 0, "invalid": 0}
    for group in vectors.wycheproof("ecdsa_secp256r1_sha256_p1363"):
        point = bytes.fromhex(group["publicKey"]["uncompressed"])
        key = public_key({"kty": "EC", "crv": "P-256", "x": b64u(point[1:33]), "y": b64u(point[33:])})
        for case in group["tests"]:
            message, signature, kind = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]), case["result"]
            if kind == "valid" and low(signature) != signature:
                kind = "valid but high s"
                assert verifies(key, message, low(signature)), f"tcId {case['tcId']}: its low form"
            assert verifies(key, message, signature) is (kind == "valid"), f"tcId {case['tcId']}: {case['comment']}"
            seen[kind] += 1
    assert seen == {"valid": 103, "valid but high s": 70, "invalid": 89}


def test_no_jws_of_theirs_is_a_statement_of_ours() -> None:
    seen = {"valid": 0, "invalid": 0}
    for group in vectors.wycheproof("json_web_signature"):
        for case in group["tests"]:
            token = case["jws"] if isinstance(case["jws"], str) else json.dumps(case["jws"])
            with pytest.raises(Rejected) as refused:
                open_envelope(token, typ="intent-test+jwt", code=CODE)
            assert refused.value.code is CODE, f"tcId {case['tcId']}: {case['comment']}"
            seen[case["result"]] += 1
    assert seen == {"valid": 46, "invalid": 355}


def test_jws_with_our_algorithm_are_judged_as_they_say() -> None:
    seen = {"valid": 0, "invalid": 0}
    for group in vectors.wycheproof("json_web_signature"):
        members = group.get("public") or {}
        if members.get("crv") != "P-256" or members.get("alg") != ES256:
            continue
        for case in group["tests"]:
            assert accepts(case["jws"], members) is (case["result"] == "valid"), f"{case['tcId']}: {case['comment']}"
            seen[case["result"]] += 1
    assert seen == {"valid": 2, "invalid": 37}


def accepts(token: str, members: dict[str, str]) -> bool:
    """Our decoding and our verification under their header: alg and kid, as their key has them, and nothing else."""
    key = public_key(dict(members))
    try:
        header, payload, signature = token.split(".")
        envelope = Envelope(
            token=token,
            typ="",
            alg=ES256,
            kid=key.kid,
            claims={},
            signing_input=f"{header}.{payload}".encode("ascii"),
            signature=low(unb64u(signature, code=CODE, field="signature")),
        )
        unb64u(payload, code=CODE, field="payload")
        if json.loads(unb64u(header, code=CODE, field="header")) != {"alg": members["alg"], "kid": members["kid"]}:
            return False
        check_signature(envelope, key, code=CODE)
    except (ValueError, Rejected):
        return False
    return True


def test_a_key_of_another_kind_or_for_another_use_is_not_read() -> None:
    """Symmetric, RSA, P-521 and the P-256 keys of rejectWrongUse and rejectWrongKeyOps: no key of theirs is one."""
    read = 0
    for group in vectors.wycheproof("json_web_signature"):
        members = group.get("public") or group["private"]
        with pytest.raises(Rejected) as refused:
            from_jwk(members, code=CODE, field="key")
        assert refused.value.code is CODE
        read += 1
    assert read == 23
