from dataclasses import replace
from ipaddress import ip_address

import identities
import pytest

from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, Bindings
from proxy.core.places import Place, bound_to, read_source


def test_a_place_says_where_it_is() -> None:
    assert Place(interface="eth1", address=ip_address("10.89.0.7"), generation="4026").label == "eth1 10.89.0.7 4026"
    assert Place(interface="eth1", address=None, generation="4026").label == "eth1 * 4026"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param("eth1 10.89.0.7", ("eth1", ip_address("10.89.0.7"), ""), id="an interface and an address"),
        pytest.param("lo ::1 pod-1", ("lo", ip_address("::1"), "pod-1"), id="a generation, too"),
    ],
)
def test_a_binding_is_read(text: str, read: object) -> None:
    assert read_source(text) == read


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("eth1", id="no address"),
        pytest.param("eth1 agent", id="a name for an address"),
        pytest.param("eth1 10.89.0.7 a b", id="four words"),
        pytest.param("eth1/x 10.89.0.7", id="no name of an interface"),
        pytest.param("an-interface-of-17 10.89.0.7", id="a name that is too long"),
        pytest.param("eth1 10.89.0.7 a/b", id="no generation"),
        pytest.param("eth1 10.89.0.7 ", id="an empty generation"),
    ],
)
def test_what_is_no_binding_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="expected INTERFACE ADDRESS") as refused:
        read_source(text)
    assert refused.value.code is Code.CONFIG_INVALID


def test_an_agent_is_bound_to_its_place_in_any_generation_or_in_the_one_it_names() -> None:
    def bound(name: str, *source: str) -> Agent:
        return replace(identities.agent(name), bindings=Bindings(source=frozenset(source)))

    agents = (bound("any", "eth1 10.89.0.7"), bound("one", "eth1 10.89.0.7 pod-1", "eth0 10.0.0.1"), bound("none"))
    bundle = identities.bundle(agents=agents)
    place = Place(interface="eth1", address=ip_address("10.89.0.7"), generation="pod-1")
    assert {agent.id for agent in bound_to(bundle, place)} == {"any", "one"}
    assert {agent.id for agent in bound_to(bundle, replace(place, generation="pod-2"))} == {"any"}
    assert bound_to(bundle, replace(place, interface="eth2")) == ()
    assert bound_to(bundle, replace(place, address=None)) == ()
