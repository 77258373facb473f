"""What an address is, and who may be reached: THREATS.md B01, and every address has a neighbour that passes."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.addresses import (
    METADATA_ADDRESSES,
    NEVER,
    AddressClass,
    OwnSurfaces,
    allowable_network,
    check_addresses,
    classify,
    is_metadata_name,
    own_by_url,
    unmapped,
)
from proxy.core.errors import Code, Rejected

NOBODY = OwnSurfaces()

KINDS = {
    "8.8.8.8": AddressClass.PUBLIC,
    "9.255.255.255": AddressClass.PUBLIC,
    "11.0.0.0": AddressClass.PUBLIC,
    "100.63.255.255": AddressClass.PUBLIC,
    "100.128.0.0": AddressClass.PUBLIC,
    "172.15.255.255": AddressClass.PUBLIC,
    "172.32.0.0": AddressClass.PUBLIC,
    "198.17.255.255": AddressClass.PUBLIC,
    "198.20.0.0": AddressClass.PUBLIC,
    "223.255.255.255": AddressClass.PUBLIC,
    "2606:4700::1111": AddressClass.PUBLIC,
    "2001:200::1": AddressClass.PUBLIC,
    "3ffe:ffff::1": AddressClass.PUBLIC,
    "127.0.0.1": AddressClass.LOOPBACK,
    "127.255.255.254": AddressClass.LOOPBACK,
    "::1": AddressClass.LOOPBACK,
    "10.0.0.1": AddressClass.PRIVATE,
    "172.16.0.1": AddressClass.PRIVATE,
    "172.31.255.255": AddressClass.PRIVATE,
    "192.168.1.1": AddressClass.PRIVATE,
    "fc00::1": AddressClass.PRIVATE,
    "fdff::1": AddressClass.PRIVATE,
    "100.64.0.1": AddressClass.CGNAT,
    "100.127.255.255": AddressClass.CGNAT,
    "169.254.0.1": AddressClass.LINK_LOCAL,
    "fe80::1": AddressClass.LINK_LOCAL,
    "febf::1": AddressClass.LINK_LOCAL,
    "169.254.169.254": AddressClass.METADATA,
    "169.254.170.2": AddressClass.METADATA,
    "169.254.170.23": AddressClass.METADATA,
    "fd00:ec2::254": AddressClass.METADATA,
    "fd20:ce::254": AddressClass.METADATA,
    "100.100.100.200": AddressClass.METADATA,
    "168.63.129.16": AddressClass.METADATA,
    "192.0.0.192": AddressClass.METADATA,
    "224.0.0.1": AddressClass.MULTICAST,
    "239.255.255.255": AddressClass.MULTICAST,
    "ff02::1": AddressClass.MULTICAST,
    "0.0.0.0": AddressClass.UNSPECIFIED,
    "0.1.2.3": AddressClass.UNSPECIFIED,
    "::": AddressClass.UNSPECIFIED,
    "255.255.255.255": AddressClass.BROADCAST,
    "240.0.0.1": AddressClass.RESERVED,
    "192.0.0.1": AddressClass.RESERVED,
    "2001:20::1": AddressClass.RESERVED,
    "100::1": AddressClass.RESERVED,
    "5f00::1": AddressClass.RESERVED,
    "fec0::1": AddressClass.RESERVED,
    "192.0.2.1": AddressClass.DOCUMENTATION,
    "198.51.100.1": AddressClass.DOCUMENTATION,
    "203.0.113.1": AddressClass.DOCUMENTATION,
    "2001:db8::1": AddressClass.DOCUMENTATION,
    "3fff::1": AddressClass.DOCUMENTATION,
    "198.18.0.1": AddressClass.BENCHMARK,
    "::127.0.0.1": AddressClass.IPV4_COMPATIBLE,
    "64:ff9b::7f00:1": AddressClass.NAT64,
    "64:ff9b::808:808": AddressClass.NAT64,
    "64:ff9b:1::a00:1": AddressClass.NAT64,
    "::ffff:0:127.0.0.1": AddressClass.NAT64,
    "2002:7f00:1::": AddressClass.SIX_TO_FOUR,
    "2002:808:808::1": AddressClass.SIX_TO_FOUR,
    "192.88.99.1": AddressClass.SIX_TO_FOUR,
    "2001::1": AddressClass.TEREDO,
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": AddressClass.TEREDO,
}


@pytest.mark.parametrize(("text", "kind"), KINDS.items(), ids=[f"{text} is {kind}" for text, kind in KINDS.items()])
def test_every_address_has_a_class(text: str, kind: AddressClass) -> None:
    address = ip_address(text)
    assert classify(address) is kind
    if isinstance(address, IPv4Address):
        assert classify(IPv6Address(f"::ffff:{text}")) is kind, "mapped into IPv6 it is the same address"


@pytest.mark.parametrize(
    "host",
    ["metadata.google.internal", "metadata", "instance-data", "metadata.goog"],
    ids=lambda host: f"{host} is known",
)
def test_names_of_metadata_services_are_known(host: str) -> None:
    assert is_metadata_name(host)


def test_a_name_that_only_holds_the_word_is_no_metadata_service() -> None:
    assert not is_metadata_name("metadata.erp.example")


# --- without an address rule: public only ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", [text for text, kind in KINDS.items() if kind is AddressClass.PUBLIC])
def test_a_public_address_passes(text: str) -> None:
    assert check_addresses((ip_address(text),), (), port=443, own=NOBODY) == (ip_address(text),)


@pytest.mark.parametrize("text", [text for text, kind in KINDS.items() if kind is not AddressClass.PUBLIC])
def test_b01_any_other_address_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_addresses((ip_address(text),), (), port=443, own=NOBODY)
    assert caught.value.code is Code.GUARD_ADDRESS
    assert KINDS[text].value in caught.value.detail
    assert text not in caught.value.detail, "what a name resolves to inside is not the agent's to know"


def test_b02_one_bad_address_refuses_the_whole_answer() -> None:
    good, bad = ip_address("93.184.216.34"), ip_address("10.0.0.1")
    assert check_addresses((good,), (), port=443, own=NOBODY) == (good,)
    for answer in ((good, bad), (bad, good)):
        with pytest.raises(Rejected) as caught:
            check_addresses(answer, (), port=443, own=NOBODY)
        assert caught.value.code is Code.GUARD_ADDRESS


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(Rejected) as caught:
        check_addresses((), (), port=443, own=NOBODY)
    assert caught.value.code is Code.GUARD_ADDRESS


def test_what_passes_is_unmapped_and_comes_once_in_order() -> None:
    answer = tuple(ip_address(text) for text in ("::ffff:8.8.8.8", "2606:4700::1111", "8.8.8.8"))
    assert check_addresses(answer, (), port=443, own=NOBODY) == (ip_address("8.8.8.8"), ip_address("2606:4700::1111"))


def test_a_zone_id_does_not_hide_an_address() -> None:
    assert classify(IPv6Address("fe80::1%eth0")) is AddressClass.LINK_LOCAL
    assert unmapped(IPv6Address("2606:4700::1111%eth0")) == IPv6Address("2606:4700::1111")


# --- with one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("10.1.2.3", "10.0.0.0/8", id="a private network"),
        pytest.param("::ffff:10.1.2.3", "10.0.0.0/8", id="its addresses mapped into IPv6"),
        pytest.param("127.0.0.1", "127.0.0.0/8", id="loopback"),
        pytest.param("100.64.1.1", "100.64.0.0/10", id="a carrier's network"),
        pytest.param("fd00::1", "fc00::/7", id="unique local addresses"),
        pytest.param("8.8.8.8", "8.8.8.0/24", id="a public network"),
        pytest.param("192.0.2.1", "192.0.2.0/24", id="a documentation network in a laboratory"),
    ],
)
def test_an_address_rule_permits_what_lies_inside_it(text: str, rule: str) -> None:
    network = ip_network(rule)
    allowable_network(network)
    assert check_addresses((ip_address(text),), (network,), port=443, own=NOBODY) == (unmapped(ip_address(text)),)


@pytest.mark.parametrize(
    ("texts", "rule"),
    [
        pytest.param(["10.1.2.3"], "192.168.0.0/16", id="another private network"),
        pytest.param(["8.8.8.8"], "10.0.0.0/8", id="a public address under a private rule"),
        pytest.param(["10.1.2.3", "8.8.8.8"], "10.0.0.0/8", id="an answer that is only half inside"),
        pytest.param(["fd00::1"], "10.0.0.0/8", id="the other family"),
        pytest.param(["169.254.169.254"], "0.0.0.0/0", id="the metadata service under a rule for everything"),
        pytest.param(["100.100.100.200"], "100.64.0.0/10", id="a metadata service inside a permitted network"),
        pytest.param(["fd00:ec2::254"], "fc00::/7", id="its IPv6 form inside a permitted network"),
        pytest.param(["169.254.1.1"], "169.254.0.0/16", id="link-local under a rule that says so"),
        pytest.param(["224.0.0.1"], "224.0.0.0/4", id="multicast under a rule that says so"),
        pytest.param(["0.0.0.0"], "0.0.0.0/8", id="the unspecified address under a rule that says so"),
        pytest.param(["64:ff9b::a00:1"], "64:ff9b::/96", id="NAT64 under a rule that says so"),
        pytest.param(["10.0.0.1"], "::ffff:0:0/96", id="IPv4 under a rule for mapped IPv6"),
    ],
)
def test_an_address_rule_permits_nothing_else(texts: list[str], rule: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_addresses(tuple(map(ip_address, texts)), (ip_network(rule),), port=443, own=NOBODY)
    assert caught.value.code is Code.GUARD_ADDRESS


def test_b01_a_rule_for_mapped_ipv6_does_not_touch_ipv4() -> None:
    """pipelock#5: `::ffff:0:0/96` in a list blocked, or permitted, the whole of IPv4."""
    with pytest.raises(Rejected, match="write the IPv4 network instead"):
        allowable_network(ip_network("::ffff:0:0/96"))
    assert classify(ip_address("8.8.8.8")) is AddressClass.PUBLIC


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("0.0.0.0/0", id="everything"),
        pytest.param("::/0", id="everything in IPv6"),
        pytest.param("169.254.0.0/16", id="link-local"),
        pytest.param("169.254.10.0/24", id="a part of link-local"),
        pytest.param("169.254.169.254/32", id="the metadata service"),
        pytest.param("168.63.129.16/32", id="a metadata service at a public address"),
        pytest.param("fd00:ec2::254/128", id="a metadata service at a private address"),
        pytest.param("224.0.0.0/4", id="multicast"),
        pytest.param("255.255.255.255/32", id="broadcast"),
        pytest.param("240.0.0.0/4", id="a network that ends in broadcast"),
        pytest.param("0.0.0.0/32", id="the unspecified address"),
        pytest.param("::/128", id="the unspecified address of IPv6"),
        pytest.param("fe80::/10", id="link-local IPv6"),
        pytest.param("ff00::/8", id="multicast IPv6"),
        pytest.param("64:ff9b::/96", id="NAT64"),
        pytest.param("2002::/16", id="6to4"),
        pytest.param("2001::/32", id="Teredo"),
        pytest.param("2000::/3", id="a network that holds 6to4"),
        pytest.param("::ffff:10.0.0.0/104", id="mapped IPv6"),
        pytest.param("::/64", id="a network that holds mapped IPv6"),
    ],
)
def test_a_rule_for_what_is_never_reached_is_a_config_error(rule: str) -> None:
    with pytest.raises(Rejected) as caught:
        allowable_network(ip_network(rule))
    assert (caught.value.code, caught.value.field) == (Code.CONFIG_INVALID, "addresses")


@pytest.mark.parametrize(
    "rule",
    [
        "10.0.0.0/8",
        "127.0.0.1/32",
        "::1/128",
        "100.64.0.0/10",
        "fc00::/7",
        "192.168.1.0/24",
        "8.8.8.0/24",
        "2606:4700::/32",
    ],
)
def test_other_rules_are_allowable(rule: str) -> None:
    allowable_network(ip_network(rule))


# --- our own listeners -----------------------------------------------------------------------------------------------

OURS = OwnSurfaces(
    addresses=frozenset({ip_address("10.0.0.5"), ip_address("203.0.114.9")}), ports=frozenset({8080, 8443})
)
WIDE = tuple(ip_network(text) for text in ("10.0.0.0/8", "127.0.0.0/8", "::1/128", "203.0.114.0/24", "0.0.0.0/8"))


@pytest.mark.parametrize(
    "text",
    ["10.0.0.5", "::ffff:10.0.0.5", "127.0.0.1", "127.9.9.9", "::1", "203.0.114.9", "0.0.0.0", "::ffff:127.0.0.1"],
    ids=lambda text: f"as {text}",
)
def test_b01_the_proxy_never_reaches_itself(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_addresses((ip_address(text),), WIDE, port=8080, own=OURS)
    assert caught.value.code is Code.GUARD_SELF


@pytest.mark.parametrize("text", ["10.0.0.5", "127.0.0.1", "::1", "203.0.114.9"])
def test_another_port_of_the_same_machine_is_not_the_proxy(text: str) -> None:
    assert check_addresses((ip_address(text),), WIDE, port=9000, own=OURS) == (ip_address(text),)


def test_the_same_port_of_another_machine_is_not_the_proxy() -> None:
    assert check_addresses((ip_address("10.0.0.6"),), WIDE, port=8080, own=OURS) == (ip_address("10.0.0.6"),)


@pytest.mark.parametrize(
    ("url", "names", "places"),
    [
        pytest.param(None, set(), (), id="no URL"),
        pytest.param("https://desk.example", {"desk.example"}, (), id="a name, wherever it leads"),
        pytest.param("https://desk.example:8443", {"desk.example"}, (), id="a name with a port, at every port"),
        pytest.param("https://10.0.0.9", set(), (("10.0.0.9", 443),), id="an address and its port"),
        pytest.param("http://localhost:8090", set(), (("127.0.0.1", 8090),), id="this machine and that port"),
    ],
)
def test_what_is_ours_by_the_desks_url(url: str | None, names: set[str], places: tuple[tuple[str, int], ...]) -> None:
    assert own_by_url(url) == (frozenset(names), places)


@pytest.mark.parametrize("host", ["desk.example", "intent.internal"])
def test_a_name_of_ours_is_ours_and_its_neighbours_are_not(host: str) -> None:
    own = OwnSurfaces(names=frozenset({"desk.example"}))
    assert own.named(host)
    assert not own.named(f"x.{host}") and not own.named(f"x{host}") and not own.named("erp.example")


addresses = st.one_of(
    st.ip_addresses(),
    st.ip_addresses(v=4).map(lambda address: IPv6Address(f"::ffff:{address}")),
    st.ip_addresses(v=4).map(lambda address: IPv6Address(int(IPv6Address("64:ff9b::")) + int(address))),
    st.sampled_from(sorted(METADATA_ADDRESSES, key=str)),
)


@given(st.lists(addresses, max_size=4), st.booleans())
def test_nothing_never_reached_ever_passes(answer: list[IPv4Address | IPv6Address], ruled: bool) -> None:
    rule = (ip_network("0.0.0.0/0"), ip_network("::/0")) if ruled else ()
    try:
        passed = check_addresses(tuple(answer), rule, port=443, own=NOBODY)
    except Rejected as fault:
        assert fault.code is Code.GUARD_ADDRESS
        return
    assert passed
    for address in passed:
        assert classify(address) not in NEVER
        assert ruled or classify(address) is AddressClass.PUBLIC
