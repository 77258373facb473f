"""What every code means to an agent: status, title, what to do next, and one sentence of advice."""

import enum
from collections.abc import Mapping
from typing import NamedTuple

from proxy.core.errors import Code
from proxy.core.names import INTERNAL_HOST


class Next(enum.StrEnum):
    """What the agent should do."""

    GO_ON = "go_on"
    RETRY = "retry"  # the same call again, after the time given
    WAIT = "wait"  # for a person
    FIX = "fix"  # the request itself, then send it
    STOP = "stop"  # do not try again, in this way or another


class Guide(NamedTuple):
    """One code's answer."""

    status: int
    title: str
    next: Next
    advice: str


_SIGN = "Sign the call with your mandate's key, freshly each time, or open a session; then send it again."
_RENEW = "Stop, and ask your sponsor for a valid mandate: trying again with this one will fail."
_LATER = "Nothing was sent. Send the same call again, freshly signed, after the seconds given."
_OPERATOR = "Nothing was sent. Stop and tell your user: an operator has to look at the proxy."
_UNCERTAIN = "Stop: do not send it again, a person has to find out whether it arrived. Tell your user, and ask later."
_WITHIN = f"Nothing was sent. Stop: do not try it in another way. http://{INTERNAL_HOST}/mandate says what you may do."
_DECLARE = "Name cluster and task in Agent-Intent, then send it again."
_MEND = "Nothing was sent. Correct the request as described, then send it again."
_HALT = "Stop all work and tell your user: only a person can let you go on."
_NOBODY = "Nothing was sent. Stop, and do not try it in another way: nobody can permit this."

GUIDES: Mapping[Code, Guide] = {
    Code.ALLOWED: Guide(200, "Allowed", Next.GO_ON, "Go on."),
    Code.KILL_SWITCH: Guide(403, "Everything is stopped", Next.STOP, _HALT),
    Code.QUARANTINED: Guide(403, "This agent is quarantined", Next.STOP, _HALT),
    Code.AGENT_UNKNOWN: Guide(403, "This agent is not known here", Next.STOP, _RENEW),
    Code.PROOF_MISSING: Guide(407, "The call carries no proof of a mandate", Next.FIX, _SIGN),
    Code.PROOF_MALFORMED: Guide(407, "The proof cannot be read", Next.FIX, _SIGN),
    Code.PROOF_COMPONENTS: Guide(407, "The signature covers the wrong components", Next.FIX, _SIGN),
    Code.PROOF_SIGNATURE: Guide(407, "The signature does not verify", Next.FIX, _SIGN),
    Code.PROOF_WINDOW: Guide(407, "The proof is too old, or from the future", Next.FIX, _SIGN),
    Code.PROOF_REPLAYED: Guide(407, "This proof was used before", Next.FIX, _SIGN),
    Code.PROOF_KEY: Guide(407, "The signing key is not the mandate's", Next.FIX, _SIGN),
    Code.PROOF_DIGEST: Guide(407, "The body is not the one that was signed", Next.FIX, _SIGN),
    Code.PROOF_WEAK: Guide(
        407,
        "This call needs stronger proof",
        Next.FIX,
        "Sign this very call with your mandate's key, then send it again.",
    ),
    Code.PROOF_CHANNEL: Guide(
        407,
        "This proof needs a private channel",
        Next.FIX,
        "Reach the proxy over TLS, or sign each call instead; then send it again.",
    ),
    Code.PROOF_SESSION: Guide(
        407, "The session is not valid", Next.FIX, "Open a new session, then send the call again."
    ),
    Code.PROOF_TUNNEL: Guide(
        407, "The tunnel's proof no longer counts", Next.FIX, "Open a new tunnel, or sign the call; then send it again."
    ),
    Code.PROOF_CERTIFICATE: Guide(
        407,
        "The client certificate does not count",
        Next.STOP,
        "Stop and tell your user: the certificate for the proxy has to be put right.",
    ),
    Code.PROOF_SOURCE: Guide(
        511,
        "Nobody is known at this source",
        Next.STOP,
        "Stop and tell your user, or sign the call: one registered mandate must belong to the place you call from.",
    ),
    Code.TRANSPARENT_DIRECT: Guide(
        403,
        "The connection was not redirected",
        Next.FIX,
        "Connect again, to the destination itself, by its name; never to this address.",
    ),
    Code.TRANSPARENT_UNMAPPED: Guide(
        403,
        "The address stands for no name",
        Next.FIX,
        "Ask the name's address again, then connect anew.",
    ),
    Code.TRANSPARENT_LITERAL: Guide(
        403,
        "The destination is an address, not a name",
        Next.FIX,
        "Connect again by the name of the destination, which the resolver of this network answers.",
    ),
    Code.TRANSPARENT_SNI: Guide(
        403,
        "TLS names another server",
        Next.FIX,
        "Connect again, and name in TLS (SNI) and Host the very server you connect to.",
    ),
    Code.TRANSPARENT_PROTOCOL: Guide(
        403,
        "Only TLS and HTTP pass",
        Next.FIX,
        "Connect again with HTTPS on port 443, or plain HTTP on another port.",
    ),
    Code.MANIFEST_MALFORMED: Guide(
        407, "The manifest cannot be read", Next.FIX, "Send the call again, with the manifest exactly as issued."
    ),
    Code.MANIFEST_SIGNATURE: Guide(407, "The manifest's signature does not verify", Next.STOP, _RENEW),
    Code.MANIFEST_UNKNOWN: Guide(
        407, "The manifest is not known here", Next.FIX, "Send the call again, with the whole manifest chain."
    ),
    Code.MANIFEST_WINDOW: Guide(403, "The mandate has expired, or is not valid yet", Next.STOP, _RENEW),
    Code.MANIFEST_LIFETIME: Guide(403, "The manifest lives longer than permitted", Next.STOP, _RENEW),
    Code.MANIFEST_AUDIENCE: Guide(403, "The manifest is for another deployment", Next.STOP, _RENEW),
    Code.MANIFEST_SUBJECT: Guide(403, "The manifest is another agent's", Next.STOP, _RENEW),
    Code.MANIFEST_REVOKED: Guide(403, "The mandate was revoked", Next.STOP, _RENEW),
    Code.DELEGATION_PARENT: Guide(403, "The delegation does not follow from its parent", Next.STOP, _RENEW),
    Code.DELEGATION_DEPTH: Guide(403, "The delegation is too deep", Next.STOP, _RENEW),
    Code.DELEGATION_WIDENED: Guide(403, "The delegation permits more than its parent", Next.STOP, _RENEW),
    Code.SPONSOR_UNKNOWN: Guide(403, "The sponsor is not known here", Next.STOP, _RENEW),
    Code.SPONSOR_LAPSED: Guide(403, "Nobody answers for this mandate any more", Next.STOP, _RENEW),
    Code.INTENT_MALFORMED: Guide(400, "Agent-Intent cannot be read", Next.FIX, _MEND),
    Code.INTENT_REQUIRED: Guide(403, "This agent must declare its intent", Next.FIX, _DECLARE),
    Code.INTENT_NOT_GRANTED: Guide(403, "The declared cluster does not permit this call", Next.STOP, _WITHIN),
    Code.INTENT_CONFLICT: Guide(
        403, "The call and its tunnel do not say the same", Next.FIX, "Open a tunnel of its own, then send it again."
    ),
    Code.URL_AMBIGUOUS: Guide(400, "The request has more than one reading", Next.FIX, _MEND),
    Code.REQUEST_MALFORMED: Guide(400, "The request is malformed", Next.FIX, _MEND),
    Code.BODY_MALFORMED: Guide(400, "The body cannot be read in one way", Next.FIX, _MEND),
    Code.BODY_NOT_INSPECTED: Guide(
        413,
        "The body is too large to be examined",
        Next.FIX,
        "Nothing was sent. Send less at once: split the work into smaller calls.",
    ),
    Code.BODY_BUDGET: Guide(
        429, "Too many large bodies at once", Next.RETRY, "Let the calls that are under way end, then send it again."
    ),
    Code.REQUEST_TOO_LARGE: Guide(
        413,
        "The request is too large",
        Next.FIX,
        "Nothing was sent. Send less at once: split the work into smaller calls.",
    ),
    Code.REQUEST_TIMEOUT: Guide(408, "The request was not sent in time", Next.RETRY, "Send it again without pauses."),
    Code.REQUEST_UNSUPPORTED: Guide(400, "The request uses what is not accepted here", Next.FIX, _MEND),
    Code.GUARD_ADDRESS: Guide(403, "The destination's address is off limits", Next.STOP, _NOBODY),
    Code.GUARD_SELF: Guide(403, "The destination is the proxy itself", Next.STOP, _NOBODY),
    Code.POLICY_DENIED: Guide(
        403, "A rule forbids this call", Next.STOP, "Nothing was sent. Stop: do not try it in another way."
    ),
    Code.HOLD_CAP: Guide(
        429,
        "Too many calls await review",
        Next.WAIT,
        "Nothing was sent. Wait for the open ones to be decided before you ask for more.",
    ),
    Code.NOT_COVERED: Guide(403, "The mandate does not cover this call", Next.STOP, _WITHIN),
    Code.CLUSTER_CHANGED: Guide(403, "The rules changed since the mandate was signed", Next.STOP, _RENEW),
    Code.CLUSTER_REVIEW: Guide(403, "A person must approve this call", Next.STOP, _WITHIN),
    Code.CREDENTIAL_UNCLEAR: Guide(403, "It is not clear which credential the call gets", Next.FIX, _DECLARE),
    Code.HOLD_PENDING: Guide(
        403, "The call awaits review", Next.WAIT, "Nothing was sent. Wait for the decision, and ask for its status."
    ),
    Code.HOLD_DENIED: Guide(403, "A person refused this call", Next.STOP, "Stop; do not try it in another way."),
    Code.HOLD_EXPIRED: Guide(
        403, "Nobody decided in time", Next.RETRY, "Nothing was sent. Send the call again if it is still needed."
    ),
    Code.HOLD_CANCELLED: Guide(
        403, "A person ended the hold", Next.RETRY, "It was not carried out. Send it again if it is still needed."
    ),
    Code.HOLD_RELEASING: Guide(
        409, "The call is being sent", Next.WAIT, "Wait: do not send it again; ask for its status."
    ),
    Code.HOLD_UNCERTAIN: Guide(409, "Nobody knows whether the call arrived", Next.STOP, _UNCERTAIN),
    Code.HOLD_SPENT: Guide(
        403,
        "The released call was sent already",
        Next.STOP,
        "Stop; to send it once more, a person has to approve it anew.",
    ),
    Code.HOLD_UNKNOWN: Guide(
        404,
        "There is no such hold",
        Next.FIX,
        "Use the address you were given with the hold, or list yours at http://intent.internal/holds.",
    ),
    Code.HOLD_TAMPERED: Guide(403, "The stored call was changed", Next.STOP, _OPERATOR),
    Code.HOLD_NOT_PERMITTED: Guide(403, "This cannot be done with the hold", Next.STOP, "Stop, and tell your user."),
    Code.HOLD_NOT_STORED: Guide(
        409,
        "The call's body was not kept",
        Next.RETRY,
        "Send the same call again, freshly signed; it passes once.",
    ),
    Code.RELEASE_INVALID: Guide(403, "The release does not hold", Next.STOP, _OPERATOR),
    Code.UPSTREAM_NAME: Guide(
        502,
        "The destination's name does not resolve",
        Next.FIX,
        "Nothing was sent. Check the name of the host, then send it again.",
    ),
    Code.UPSTREAM_CONNECT: Guide(
        502, "The destination does not answer", Next.RETRY, "Nothing was sent. Try again later."
    ),
    Code.UPSTREAM_TLS: Guide(
        502, "The destination's certificate is not valid", Next.STOP, "Nothing was sent. Stop, and tell your user."
    ),
    Code.UPSTREAM_BROKEN: Guide(
        502, "The connection to the destination broke", Next.RETRY, "Try again only if the call may happen twice."
    ),
    Code.CLIENT_GONE: Guide(
        400, "The client left", Next.RETRY, "Nothing was sent. Send it again if it is still needed."
    ),
    Code.UNDECIDED: Guide(503, "The call could not be decided", Next.RETRY, _LATER),
    Code.STORE_DOWN: Guide(503, "The proxy's store does not answer", Next.RETRY, _LATER),
    Code.JOURNAL_DOWN: Guide(503, "The journal cannot be written", Next.RETRY, _LATER),
    Code.VIEW_STALE: Guide(503, "The proxy's view is out of date", Next.RETRY, _LATER),
    Code.CLOCK_WRONG: Guide(503, "The proxy's clock cannot be trusted", Next.RETRY, _LATER),
    Code.REPLAY_EPOCH: Guide(503, "The replay protection has just started anew", Next.RETRY, _LATER),
    Code.BUSY: Guide(503, "The proxy has too much to do", Next.RETRY, _LATER),
    Code.DRAINING: Guide(503, "This node is shutting down", Next.RETRY, _LATER),
    Code.SPOOL: Guide(503, "The proxy has no room for the body", Next.RETRY, _LATER),
    Code.RESOLVER_DOWN: Guide(503, "The proxy cannot look up the destination's name", Next.RETRY, _LATER),
    Code.CREDENTIAL_DOWN: Guide(503, "The proxy has no credential for this call now", Next.RETRY, _LATER),
    Code.CONFIG_INVALID: Guide(503, "The configuration is not valid", Next.STOP, _OPERATOR),
    Code.BUNDLE_INVALID: Guide(503, "The policy bundle is not valid", Next.STOP, _OPERATOR),
    Code.STATEMENT_INVALID: Guide(400, "The statement is not valid", Next.FIX, _MEND),
    Code.JOURNAL_INVALID: Guide(503, "The journal does not verify", Next.STOP, _OPERATOR),
}
"""Every code, once. `HOLD` verdicts take the status 403 and their advice from the hold."""
