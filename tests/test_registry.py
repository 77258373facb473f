"""Which registered mandate a client certificate stands for."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from clientcerts import ClientAuthority
from identities import AGENT, HELPER, NOW, agent, bundle, chain, draft, root

from proxy.core.certificates import ClientCertificate, verify_certificate
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.manifest import parse_manifest
from proxy.core.model import Agent, Bindings, Bundle, Mandate
from proxy.core.places import Place
from proxy.core.verify import Lifetimes, verify_chain
from proxy.registry import Certificates, Registry, check_registrable, forget, names_of, of_agent
from proxy.stores.memory import MemoryMandates

SPIFFE = "spiffe://test.example/invoice-bot"
AUTHORITY = ClientAuthority(now=NOW)
CERTIFICATE = verify_certificate(AUTHORITY.issue(uris=[SPIFFE]).der, (AUTHORITY.certificate,), now=NOW)


def of(**spiffe: str) -> Bundle:
    """The usual agents, some with SPIFFE ids; names with `_` for `-`."""
    bound = {name.replace("_", "-"): Bindings(spiffe=frozenset({value})) for name, value in spiffe.items()}
    usual: Mapping[str, Agent] = bundle().agents
    return bundle(agents=[replace(each, bindings=bound.get(each.id, Bindings())) for each in usual.values()])


HELD = of(invoice_bot=SPIFFE)


async def look(
    *tokens: str, within: Bundle = HELD, certificate: ClientCertificate = CERTIFICATE, under: tuple[str, ...] = ()
) -> Mandate:
    mandates = MemoryMandates()
    for token in tokens:
        manifest = parse_manifest(token)
        for name in under or names_of(manifest):
            await mandates.register(name, manifest.id, token)
    registry = Registry(mandates=mandates)

    def verify(chain: tuple[str, ...]) -> Mandate:
        return verify_chain(chain, within, lifetimes=Lifetimes().lasting(), now=NOW)

    found = [await registry.mandate_of(certificate, within, verify, now=NOW) for _ in range(2)]
    assert str(found[0]) == str(found[1])
    if isinstance(found[0], Rejected):
        raise found[0]
    return found[0]


async def refused(*tokens: str, **given: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await look(*tokens, **given)  # type: ignore[arg-type]
    return caught.value


BOUND = root(draft(certificate=CERTIFICATE.thumbprint, jti="bound"))
OTHERS = root(draft(certificate="A" * 43, jti="others"))
FREE = root()


async def test_by_the_agents_spiffe_id() -> None:
    assert (await look(FREE)).root.token == FREE


async def test_by_the_certificate_the_manifest_names() -> None:
    assert (await look(BOUND, within=of())).root.token == BOUND


async def test_what_is_bound_to_another_certificate_does_not_count() -> None:
    assert (await look(FREE, OTHERS)).root.token == FREE
    assert "no mandate is registered" in (await refused(OTHERS)).detail


async def test_none_and_several_are_refused() -> None:
    assert (await refused()).code is Code.PROOF_CERTIFICATE
    assert "2 mandates are registered" in (await refused(FREE, BOUND)).detail
    both = of(invoice_bot=SPIFFE, lookup_bot=SPIFFE)
    assert f"several agents ({AGENT}, {HELPER})" in (await refused(FREE, within=both)).detail


async def test_one_that_has_ended_stands_in_nobodys_way_and_is_the_reason_if_there_is_no_other() -> None:
    ended = root(draft(exp=NOW - timedelta(hours=1), jti="ended"))
    assert (await look(FREE, ended)).root.token == FREE
    assert (await refused(ended)).code is Code.MANIFEST_WINDOW


async def test_what_somebody_else_put_there_counts_only_if_it_is_the_agents() -> None:
    helpers = root(draft(sub=HELPER, may_delegate_to=()))
    assert "no mandate is registered" in (await refused(helpers, under=(f"agent:{AGENT}",))).detail
    assert (await refused(root(draft(deployment="elsewhere")))).code is Code.MANIFEST_AUDIENCE


def verified(tokens: tuple[str, ...], within: Bundle) -> Mandate:
    return verify_chain(tokens, within, lifetimes=Lifetimes().lasting(), now=NOW)


def test_what_can_be_registered() -> None:
    check_registrable(verified((FREE,), HELD))
    check_registrable(verified((BOUND,), of()))
    with pytest.raises(Rejected, match="--certificate FILE, or name its SPIFFE id"):
        check_registrable(verified((FREE,), of()))
    with pytest.raises(Rejected, match="got a chain of 2"):
        check_registrable(verified(chain(), HELD))
    assert agent().bindings == Bindings()


def test_a_verified_certificate_is_remembered_until_its_end_however_large_what_is_shown_with_it() -> None:
    shown = AUTHORITY.issue(uris=[SPIFFE]).der
    certificates = Certificates((AUTHORITY.certificate,))
    found = certificates.verified(shown, now=NOW)
    assert certificates.verified(shown, now=NOW) is found
    beside = (*shown, *ClientAuthority("somebody", now=NOW).issue().der)
    assert certificates.verified(beside, now=NOW) == found, "what is beside it does not matter"
    with pytest.raises(Rejected, match="is good from"):
        certificates.verified(shown, now=found.not_after + timedelta(seconds=1))
    with pytest.raises(Rejected):
        certificates.verified(beside[1:], now=NOW)


class Breaking(MemoryMandates):
    """A store that goes away after so many words."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    async def unregister(self, name: str, manifest_id: str) -> None:
        if not self.after:
            raise Unavailable(Code.STORE_DOWN, "away")
        self.after -= 1
        await super().unregister(name, manifest_id)


async def test_taking_away_that_was_cut_off_can_be_done_again() -> None:
    """Else the certificate would count on, and nothing would list it."""
    mandates, manifest = Breaking(after=1), parse_manifest(BOUND)
    for name in names_of(manifest):
        await mandates.register(name, manifest.id, BOUND)
    with pytest.raises(Unavailable):
        await forget(mandates, manifest)
    assert await mandates.registered(f"agent:{AGENT}") == (BOUND,)
    mandates.after = 9
    await forget(mandates, manifest)
    assert [await mandates.registered(name) for name in names_of(manifest)] == [(), ()]


# --- by where a call comes from ---------------------------------------------------------------------------------------

HERE = Place(interface="eth1", address=ip_address("10.89.0.7"), generation="4026")


def placed(*names: str) -> Bundle:
    """The usual agents, these of them bound to `HERE`."""
    at = Bindings(source=frozenset({"eth1 10.89.0.7"}))
    usual: Mapping[str, Agent] = bundle().agents
    return bundle(agents=[replace(each, bindings=at if each.id in names else Bindings()) for each in usual.values()])


async def at(place: Place, *tokens: str, within: Bundle) -> Mandate:
    mandates = MemoryMandates()
    for token in tokens:
        await mandates.register(of_agent(AGENT), parse_manifest(token).id, token)

    def verify(chain: tuple[str, ...]) -> Mandate:
        return verify_chain(chain, within, lifetimes=Lifetimes().lasting(), now=NOW)

    return await Registry(mandates=mandates).mandate_at(place, within, verify, now=NOW)


async def test_a_place_stands_for_the_one_mandate_of_the_one_agent_there() -> None:
    assert (await at(HERE, FREE, BOUND, within=placed(AGENT))).agent.id == AGENT


@pytest.mark.parametrize(
    ("place", "names", "tokens", "said"),
    [
        pytest.param(HERE, (), (FREE,), "0 agents", id="nobody is bound to it"),
        pytest.param(HERE, (AGENT, HELPER), (FREE,), "2 agents", id="two are"),
        pytest.param(replace(HERE, interface="eth2"), (AGENT,), (FREE,), "0 agents", id="another interface"),
        pytest.param(replace(HERE, address=None), (AGENT,), (FREE,), "0 agents", id="somebody on that interface"),
        pytest.param(HERE, (AGENT,), (), "0 mandates", id="no mandate is registered"),
        pytest.param(HERE, (AGENT,), (BOUND,), "0 mandates", id="one for a certificate alone"),
        pytest.param(HERE, (AGENT,), (FREE, root(draft(jti="b"))), "2 mandates", id="two mandates are"),
    ],
)
async def test_else_a_place_stands_for_nothing(
    place: Place, names: tuple[str, ...], tokens: tuple[str, ...], said: str
) -> None:
    with pytest.raises(Rejected, match=said) as refused:
        await at(place, *tokens, within=placed(*names))
    assert refused.value.code is Code.PROOF_SOURCE


async def test_the_reason_is_that_it_has_ended_where_there_is_no_other_mandate() -> None:
    ended = root(draft(iat=NOW - timedelta(days=9), exp=NOW - timedelta(days=1)))
    with pytest.raises(Rejected) as refused:
        await at(HERE, ended, within=placed(AGENT))
    assert refused.value.code is Code.MANIFEST_WINDOW
