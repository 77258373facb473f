"""Whether a root manifest is its sponsor's word: signed with a key of their own, or with their passkey at the desk.

By passkey it has one claim more, as a release has (`vouching`): the assertion, whose challenge is made of the type and
all other claims. The desk's key signs the whole. Neither is enough: whoever has the desk cannot make a mandate, and
whoever has the passkey needs a page of the desk.

What one touch signed is one mandate. Its id is the hash of what the *desk* signed, so whatever the desk could write
otherwise under the same assertion would be a second id, with counters of its own, which no revocation of the first
stops. So there is one spelling: header and payload in their RFC 8785 form, and the passkey's signature in one form. And
there is one key: the challenge names the desk's, for of a desk that gets another key both are enrolled for a while.
"""

from collections.abc import Mapping

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.jws import check_signature, open_envelope, signing_input_of
from proxy.core.keys import one_form
from proxy.core.manifest import MANIFEST_TYP
from proxy.core.model import Bundle, Manifest, Person
from proxy.core.passkeys import WEBAUTHN, challenge_of, check_assertion, read_assertion
from proxy.core.standing import signing_key


def sponsored_challenge(claims: Mapping[str, Json], *, typ: str, kid: str) -> bytes:
    """What a passkey signs for a root that the desk's key `kid` will seal: as `challenge_of`, with that key's name.

    No claim of a manifest is called so.

    Raises:
        Rejected(RELEASE_INVALID): the claims have no canonical form.
    """
    return challenge_of({**claims, "kid": kid}, typ=typ)


def check_sponsored(root: Manifest, sponsor: Person, bundle: Bundle) -> None:
    """Reject a root that its sponsor did not sign.

    Not checked here: that they may sponsor its subject, and that they were competent (`standing`).

    Raises:
        Rejected(MANIFEST_SIGNATURE): a key or passkey is not enrolled, or did not sign it; or it is spelled otherwise.
    """
    code = Code.MANIFEST_SIGNATURE
    check_signature(root, signing_key(root, sponsor, bundle), code=code)
    if root.passkey is None:
        return
    envelope = open_envelope(root.token, typ=MANIFEST_TYP, code=code)
    try:
        assertion = read_assertion(envelope.claims[WEBAUTHN])
        challenge = sponsored_challenge(envelope.claims, typ=envelope.typ, kid=envelope.kid)
        passkey = check_assertion(assertion, challenge=challenge, passkeys=sponsor.passkeys, desk=bundle.desk)
    except Rejected as fault:
        raise Rejected(code, fault.detail, field=fault.field) from None
    if assertion.signature != one_form(passkey.key, assertion.signature):
        raise Rejected(code, "the passkey's signature must be in DER with low s", field="signature")
    if root.signing_input != signing_input_of(envelope.claims, typ=envelope.typ, alg=root.alg, kid=root.kid):
        raise Rejected(code, "what a passkey signed must be in its RFC 8785 form", field="payload")
