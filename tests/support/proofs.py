"""An origin's route that stands in for the proxy: it verifies every request's proof and refuses as the proxy does."""

from collections.abc import Callable
from datetime import datetime

from origins import Reply, Request, echo

from proxy.core.content_digest import check_content_digest
from proxy.core.errors import Code, Rejected
from proxy.core.manifest import parse_manifest
from proxy.core.model import Evidence, Received
from proxy.core.proof import read_chain, target_uri, verify_signature


class Verifier:
    """Verifies with the key the last link names; `evidence` is what was accepted, in order, `refused` what was not.

    Not checked: the chain. Each nonce is accepted once.
    """

    def __init__(self, clock: Callable[[], datetime], *, then: Callable[[Request], Reply] = echo) -> None:
        self.evidence: list[Evidence] = []
        self.refused: list[Code] = []
        self._clock, self._then = clock, then

    def __call__(self, request: Request) -> Reply:
        try:
            evidence = self._verify(request)
        except Rejected as fault:
            self.refused.append(fault.code)
            return Reply(
                status=403,
                headers=(("Content-Type", "application/problem+json"),),
                json={"status": 403, "code": fault.code.value, "title": fault.detail, "detail": fault.detail},
            )
        self.evidence.append(evidence)
        return self._then(request)

    def _verify(self, request: Request) -> Evidence:
        received = as_received(request)
        tokens = read_chain(request.header("intent-manifest") or "")
        key = parse_manifest(tokens[-1]).cnf
        evidence = verify_signature(received, target_uri=target_uri(received), key=key, now=self._clock())
        check_content_digest(received.lines, request.body)
        if evidence.nonce in {earlier.nonce for earlier in self.evidence}:
            raise Rejected(Code.PROOF_REPLAYED, "this nonce was used before")
        return evidence


def as_received(request: Request, *, scheme: str = "http") -> Received:
    """What the proxy would have read."""
    absolute = "://" in request.target
    rest = request.target.partition("://")[2]
    authority, slash, path = rest.partition("/")
    return Received(
        method=request.method.encode(),
        scheme=request.target.partition("://")[0] if absolute else scheme,
        form="absolute" if absolute else "origin",
        authority=authority.encode() if absolute else b"",
        target=(slash + path if absolute else request.target).encode(),
        headers=tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers),
        body=request.body,
    )
