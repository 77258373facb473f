"""The credential of an allowed call, as the gate finds it: after the decision, and for nothing that was not allowed."""

import logging

from proxy.core.credential import Credential
from proxy.core.errors import Code, Unavailable
from proxy.core.injection import Injection, fits
from proxy.core.model import Call, Decision, Verdict
from proxy.ports import Secrets

logger = logging.getLogger(__name__)


class Injecting:
    """The credentials of one worker's calls."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._unfit: set[Credential] = set()  # what was told already: calls may be many

    def for_call(self, decision: Decision, call: Call | None) -> Injection | None:
        """What is set on an allowed call as it leaves; None: nothing is.

        Raises:
            Unavailable(CREDENTIAL_DOWN): there is no such secret now, or it cannot be set like this.
        """
        credential = decision.credential
        if decision.verdict is not Verdict.ALLOW or credential is None or call is None:
            return None
        value = self._secrets.current(credential.secret)
        if not fits(credential, value):
            if credential not in self._unfit:
                self._unfit.add(credential)
                told = "secret %s has a space in it, so it is no bearer token: set it as a header"
                logger.error(told, credential.secret)
            raise Unavailable(Code.CREDENTIAL_DOWN, "the proxy's credential does not fit this call")
        self._unfit.discard(credential)
        return Injection(credential=credential, to=(call.scheme, call.host, call.port), value=value)

    def answered(self, injection: Injection | None, status: int) -> None:
        """Note how the origin answered a call that bore a credential."""
        if injection is not None and status == 401:
            self._secrets.refused(injection.credential.secret)


def under_grants(decision: Decision) -> bool:
    """Whether a route grant may let a held call pass: not with a credential that its cluster had not when the sponsor
    signed. Somebody has to see that first.
    """
    return decision.code is not Code.CLUSTER_CHANGED or decision.credential is None
