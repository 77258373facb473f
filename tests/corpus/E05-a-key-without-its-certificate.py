"""A mandate that is bound to a client certificate, used by somebody who has its key, and not the certificate."""

from collections.abc import Callable, Iterator, Sequence

import identities
from attacks import Case, against
from shots import Shot, leaf_under
from streets import Street

from proxy.core.encoding import Json
from proxy.core.keys import jwk

OWN, OTHER = "A" * 43, "B" * 43


def cases(way: str) -> Iterator[Case]:
    proofs = ("request",) if way == "plain" else ("request", "tunnel")
    for proof in proofs:
        base = Shot(chain=under(None), proof=proof)
        for name, chain, code in (
            ("as it is", under(OWN, leaf=OWN), "proof.certificate"),
            ("under a delegation that drops the binding", under(OWN), "delegation.widened"),
            ("under a delegation bound to a certificate of the thief's", under(OWN, leaf=OTHER), "delegation.widened"),
        ):
            yield against("E05", f"a stolen key is used {name}, by {proof}", way, base, {"chain": chain}, code=code)


def under(certificate: str | None, *, leaf: str | None = None) -> Callable[[Street], Sequence[str]]:
    """A root and a leaf, each bound to a certificate or to none."""
    cnf: dict[str, Json] = {"jwk": jwk(identities.leaf_key().public)}
    if leaf is not None:
        cnf["x5t#S256"] = leaf

    def chain(street: Street) -> Sequence[str]:
        root = street.house.root(certificate=certificate)
        return root, leaf_under(root, cnf=cnf)

    return chain
