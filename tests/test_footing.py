"""What a proof rests on beside its manifests: when it counts no more, and what is known while the store is away."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from clientcerts import ClientAuthority
from identities import NOW, agent, bundle, draft, root

from proxy.core.certificates import verify_certificate
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.manifest import parse_manifest
from proxy.core.model import Bindings, Evidence, Intent, Proof
from proxy.core.places import Place
from proxy.core.verify import Lifetimes, verify_chain
from proxy.footing import Footings
from proxy.identity import Identity
from proxy.registry import Registry, names_of
from proxy.stores.memory import MemoryMandates

SPIFFE = "spiffe://test.example/invoice-bot"
AUTHORITY = ClientAuthority(now=NOW)
OWN = verify_certificate(AUTHORITY.issue(uris=[SPIFFE]).der, (AUTHORITY.certificate,), now=NOW)
FREE, BOUND = root(), root(draft(certificate=OWN.thumbprint, jti="bound"))
HOUR = timedelta(hours=1)


class Rings:
    """A vault of which only the sessions are asked for."""

    def __init__(self) -> None:
        self.sealed = {"sealed"}

    def unseal_session(self, token: str) -> bytes:
        if token not in self.sealed:
            raise Rejected(Code.PROOF_SESSION, "not one of ours")
        return b""


class Store(MemoryMandates):
    """Mandates that may be out of reach."""

    away = False

    async def registered(self, name: str) -> tuple[str, ...]:
        if self.away:
            raise Unavailable(Code.STORE_DOWN, "away")
        return await super().registered(name)


class Ground:
    """Footings over parts that a test changes."""

    def __init__(self) -> None:
        self.store, self.vault, self.now = Store(), Rings(), NOW
        self.spiffe = SPIFFE
        self.footings = Footings(
            registry=Registry(mandates=self.store),
            vault=self.vault,  # type: ignore[arg-type]
            bundle=lambda: bundle(agents=[replace(agent(), bindings=Bindings(spiffe=frozenset({self.spiffe})))]),
            clock=lambda: self.now,
        )

    async def register(self, token: str) -> None:
        manifest = parse_manifest(token)
        for name in names_of(manifest):
            await self.store.register(name, manifest.id, token)

    async def unregister(self, token: str) -> None:
        manifest = parse_manifest(token)
        for name in names_of(manifest):
            await self.store.unregister(name, manifest.id)


@pytest.fixture
def ground() -> Ground:
    return Ground()


def proved(proof: Proof, token: str = FREE, **given: object) -> Identity:
    mandate = verify_chain((token,), bundle(), lifetimes=Lifetimes().lasting(), now=NOW)
    evidence = Evidence(proof=proof, keyid="k", created=NOW, nonce=None)
    made = Identity(mandate=mandate, evidence=evidence, intent=Intent(), manifest_field="")
    return replace(made, **given)  # type: ignore[arg-type]


def by_certificate(token: str = FREE) -> Identity:
    return proved(Proof.MTLS, token, registered=True, spiffe_id=SPIFFE, ends_at=NOW + HOUR)


def by_session(**given: object) -> Identity:
    return proved(Proof.SESSION, session="sealed", ends_at=NOW + HOUR, **given)


def refused(check: Callable[[], object]) -> Code:
    with pytest.raises(Rejected) as caught:
        check()
    return caught.value.code


def test_a_signature_rests_on_nothing_else(ground: Ground) -> None:
    ground.now = NOW + 24 * HOUR
    ground.footings.check(proved(Proof.REQUEST))


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        pytest.param(by_certificate(), Code.PROOF_CERTIFICATE, id="a certificate"),
        pytest.param(by_session(), Code.PROOF_SESSION, id="a session"),
        pytest.param(
            proved(Proof.REQUEST, ends_at=NOW + HOUR), Code.PROOF_CERTIFICATE, id="a signature beside a certificate"
        ),
    ],
)
def test_it_counts_until_what_it_rests_on_ends(ground: Ground, identity: Identity, code: Code) -> None:
    ground.now = NOW + HOUR - timedelta(seconds=1)
    ground.footings.check(identity)
    ground.now = NOW + HOUR
    assert refused(lambda: ground.footings.check(identity)) is code
    ground.footings.check(identity, released=True)


def test_a_session_ends_when_the_key_that_sealed_it_is_retired(ground: Ground) -> None:
    ground.footings.check(by_session())
    ground.vault.sealed.clear()
    assert refused(lambda: ground.footings.check(by_session())) is Code.PROOF_SESSION


@pytest.mark.parametrize(
    "identity", [by_certificate(), by_session(registered=True, spiffe_id=SPIFFE)], ids=["certificate", "its session"]
)
def test_an_agent_that_loses_its_spiffe_id_loses_what_rested_on_it(ground: Ground, identity: Identity) -> None:
    ground.footings.check(identity)
    ground.spiffe = SPIFFE + "/2"
    assert refused(lambda: ground.footings.check(identity, released=True)) is Code.PROOF_CERTIFICATE
    ground.footings.check(by_certificate(BOUND))


async def test_what_is_taken_from_the_registry_counts_no_more_from_the_next_look_on(ground: Ground) -> None:
    gone, stays = by_certificate(), by_certificate(BOUND)
    for token in (FREE, BOUND):
        await ground.register(token)
    await ground.footings.look([gone, stays, proved(Proof.REQUEST)])
    await ground.unregister(FREE)
    ground.footings.check(gone)
    await ground.footings.look([gone, stays])
    assert refused(lambda: ground.footings.check(gone)) is Code.PROOF_CERTIFICATE
    ground.footings.check(stays)
    ground.store.away = True
    await ground.footings.look([gone, stays])
    assert refused(lambda: ground.footings.check(gone)) is Code.PROOF_CERTIFICATE
    ground.footings.check(stays)


async def test_a_new_call_is_checked_against_the_registry_itself(ground: Ground) -> None:
    session = by_session(registered=True, spiffe_id=SPIFFE)
    with pytest.raises(Rejected, match="is registered for no client certificate any more"):
        await ground.footings.check_now(session)
    await ground.register(FREE)
    await ground.footings.check_now(session)
    await ground.footings.check_now(by_session())
    ground.store.away = True
    with pytest.raises(Unavailable):
        await ground.footings.check_now(session)


async def test_a_place_counts_while_its_agent_alone_is_bound_there() -> None:
    place = Place(interface="eth1", address=ip_address("10.89.0.7"), generation="1")
    there = replace(agent(), bindings=Bindings(source=frozenset({"eth1 10.89.0.7"})))
    agents = [there]
    store = Store()
    footings = Footings(
        registry=Registry(mandates=store),
        vault=Rings(),  # type: ignore[arg-type]
        bundle=lambda: bundle(agents=agents),
        clock=lambda: NOW,
    )
    identity = Identity(
        mandate=verify_chain((FREE,), bundle(agents=agents), lifetimes=Lifetimes().lasting(), now=NOW),
        evidence=Evidence(proof=Proof.SOURCE, keyid=place.label, created=NOW, nonce=None),
        intent=Intent(),
        manifest_field="",
        registered=True,
        place=place,
    )
    footings.check(identity)
    for others in ([agent()], [there, replace(there, id="another")]):
        agents[:] = others
        with pytest.raises(Rejected) as refused:
            footings.check(identity)
        assert refused.value.code is Code.PROOF_SOURCE
