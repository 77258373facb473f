"""What the sidecar itself answers when a call cannot be signed or brought to the proxy: the same documents as there."""

import enum
import json
from dataclasses import dataclass

from proxy.core.encoding import Json
from proxy.core.errors import Code


class Reason(enum.StrEnum):
    """The sidecar's own codes. Calls it refuses never reach the proxy, so none of them is in a journal."""

    NO_PROXY = "sidecar.no_proxy"
    BROKEN = "sidecar.broken"
    UNTRUSTED = "sidecar.untrusted"
    STRANGER = "sidecar.stranger"
    BUSY = "sidecar.busy"
    TOO_LARGE = "sidecar.too_large"
    NOT_A_PROXY_CALL = "sidecar.not_a_proxy_call"
    NO_SESSION = "sidecar.no_session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One answer of the sidecar's own."""

    status: int
    code: str
    title: str
    detail: str
    action: str  # what to do, in the words of `proxy.core.problems`
    after_s: int | None = None

    def head(self, *, closes: bool) -> list[tuple[bytes, bytes]]:
        """Its header lines."""
        lines = [
            (b"Content-Type", b"application/problem+json"),
            (b"Cache-Control", b"no-store"),
            (b"Content-Length", str(len(self.body)).encode()),
        ]
        if self.after_s is not None:
            lines.append((b"Retry-After", str(self.after_s).encode()))
        if self.status == 407:
            lines.append((b"Proxy-Authenticate", b'Basic realm="intent-proxy sidecar"'))
        return [*lines, (b"Connection", b"close")] if closes else lines

    @property
    def body(self) -> bytes:
        """Its document (RFC 9457), with the members that the proxy's have."""
        retry: dict[str, Json] = {"action": self.action}
        if self.after_s is not None:
            retry["after_s"] = self.after_s
        members: dict[str, Json] = {
            "type": f"urn:intent-proxy:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "message": f"{self.code}: {self.detail}",
            "retry": retry,
        }
        return json.dumps(members).encode("ascii") + b"\n"


def no_proxy(where: str, why: str) -> Refusal:
    """The proxy cannot be reached: nothing was sent."""
    return Refusal(
        status=503,
        code=Reason.NO_PROXY,
        title="The proxy does not answer",
        detail=f"The sidecar cannot reach the proxy at {where}: {why}. Nothing was sent. Send the call again later.",
        action="retry",
        after_s=2,
    )


def broken(why: str) -> Refusal:
    """The connection to the proxy ended before an answer: the call may have been sent."""
    return Refusal(
        status=502,
        code=Reason.BROKEN,
        title="The connection to the proxy broke",
        detail=f"The connection to the proxy ended before its answer: {why}. "
        "The call may have been sent; send it again only if it may happen twice.",
        action="retry",
        after_s=2,
    )


def untrusted(why: str) -> Refusal:
    """The proxy's certificate is not of the CA we were given."""
    return Refusal(
        status=502,
        code=Reason.UNTRUSTED,
        title="The proxy's certificate is not the expected one",
        detail=f"The sidecar does not trust the proxy's certificate ({why}). Nothing was sent. "
        "Stop and tell your user: the sidecar needs the proxy's CA (--ca).",
        action="stop",
    )


def not_signed(code: Code, detail: str) -> Refusal:
    """The call cannot be signed: the manifest has expired, or the call does not fit the profile."""
    stops = code is Code.PROOF_KEY or code.value.startswith(("manifest.", "delegation."))
    advice = "Stop, and ask for a valid mandate." if stops else "Correct the request, then send it again."
    return Refusal(
        status=403 if stops else 400,
        code=code,
        title="The call cannot be signed",
        detail=f"Nothing was sent: {detail}. {advice}",
        action="stop" if stops else "fix",
    )


def malformed(detail: str, *, status: int = 400) -> Refusal:
    """What came is not a request that can be sent on."""
    return Refusal(
        status=status,
        code=Code.REQUEST_TIMEOUT if status == 408 else Code.REQUEST_MALFORMED,
        title="The request is malformed",
        detail=f"Nothing was sent: {detail}. Correct the request, then send it again.",
        action="fix",
    )


def too_large(limit: int, *, crowded: bool) -> Refusal:
    """The body is more than the sidecar keeps while it waits for its end."""
    mend = (
        "Send less at once, or let calls end first." if crowded else "Send less at once, or start it with --max-body."
    )
    return Refusal(
        status=413,
        code=Reason.TOO_LARGE,
        title="The body is too large to be signed",
        detail=f"Nothing was sent: a signature covers the whole body, of which {limit} bytes are kept. {mend}",
        action="fix",
    )


NOT_A_PROXY_CALL = Refusal(
    status=400,
    code=Reason.NOT_A_PROXY_CALL,
    title="This is a proxy",
    detail="Name it as your proxy (HTTP_PROXY, HTTPS_PROXY) and call http:// URLs in absolute form, https:// ones by "
    "CONNECT.",
    action="fix",
)
NO_SESSION = Refusal(
    status=403,
    code=Reason.NO_SESSION,
    title="A sidecar asks for no session",
    detail="Nothing was sent: the sidecar signs each call, and asks for no credentials that outlive it. Stop, and send "
    "the calls themselves.",
    action="stop",
)
STRANGER = Refusal(
    status=407,
    code=Reason.STRANGER,
    title="This sidecar is somebody else's",
    detail="The sidecar serves only programs that know its secret: use the proxy's URL as it stands in HTTPS_PROXY.",
    action="stop",
)
BUSY = Refusal(
    status=503,
    code=Reason.BUSY,
    title="Too many connections at once",
    detail="The sidecar has all the connections it takes. Nothing was sent. Send the call again later.",
    action="retry",
    after_s=2,
)
