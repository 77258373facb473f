"""What the auths for httpx and requests share: a signer, and how to declare something else for one request."""

import copy
from pathlib import Path
from typing import Self

from proxy.agent.signer import Signer
from proxy.core.keys import PrivateKey


class SigningAuth:
    """Holds the signer of an `IntentAuth`."""

    def __init__(
        self,
        manifest: str | Path,
        key: PrivateKey | str | Path,
        *,
        cluster: str | None = None,
        task: str | None = None,
    ) -> None:
        """The arguments are those of `Signer`.

        Raises:
            Rejected: as `Signer`.
        """
        self.signer = Signer(manifest, key, cluster=cluster, task=task)

    @classmethod
    def of(cls, signer: Signer) -> Self:
        """The auth of a signer that is there already."""
        auth = cls.__new__(cls)
        auth.signer = signer
        return auth

    def declaring(self, *, cluster: str | None = None, task: str | None = None) -> Self:
        """The same auth with another declaration, for one request or many; what is not given stays as it was.

        Raises:
            Rejected(INTENT_MALFORMED): as `Signer.declaring`.
        """
        other = copy.copy(self)
        other.signer = self.signer.declaring(cluster=cluster, task=task)
        return other
