"""Packet rules as data: what is refused, and that the text says what was asked (tests/network has what they do)."""

import pytest

from proxy.core import iptables, nftables
from proxy.core.errors import Code, Rejected
from proxy.core.netrules import OWN_MARK, Arrangement, Gateway, Sidecar

GATEWAY = Gateway(uid=10001, inside=("eth1", "br-agents"))
SIDECAR = Sidecar(uid=10001)


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        pytest.param(Sidecar(uid=0), "uid", id="root's uid would let every root out"),
        pytest.param(Sidecar(uid=2**32 - 1), "uid", id="a uid that stands for nobody"),
        pytest.param(Sidecar(uid=1, listen_port=0), "port", id="no port"),
        pytest.param(Sidecar(uid=1, inbound_ports=(70_000,)), "port", id="a port that is none"),
        pytest.param(Sidecar(uid=1, explicit_ports=(8444,)), "port", id="the listener by name"),
        pytest.param(Gateway(uid=1, inside=(), listen_port=5353), "port", id="listener and stub on one port"),
        pytest.param(Gateway(uid=1, inside=()), "from", id="a gateway without agents"),
        pytest.param(Gateway(uid=1, inside=("lo",)), "from", id="agents on loopback"),
        pytest.param(Gateway(uid=1, inside=('e" accept',)), "from", id="a name that would be rules"),
        pytest.param(Gateway(uid=1, inside=("a" * 16,)), "from", id="a name no interface can have"),
        pytest.param(Gateway(uid=1, inside=("",)), "from", id="no name"),
    ],
)
def test_what_cannot_be_meant_is_refused(rules: Arrangement, field: str) -> None:
    for make in (lambda: nftables.ruleset(rules), lambda: iptables.ruleset(rules, six=True)):
        with pytest.raises(Rejected) as refused:
            make()
        assert (refused.value.code, refused.value.field) == (Code.CONFIG_INVALID, field)


@pytest.mark.parametrize("rules", [GATEWAY, SIDECAR], ids=["a gateway", "a sidecar"])
def test_nftables_replace_one_table_whole_and_every_chain_that_is_jumped_to_is_there(rules: Arrangement) -> None:
    text = nftables.ruleset(rules)
    assert text.startswith("table inet intent_proxy {}\ndelete table inet intent_proxy\n")
    names = {name for name, _ in nftables.chains(rules)}
    for line in text.splitlines():
        if " jump " in f" {line}":
            assert line.rpartition(" ")[2] in names
    assert nftables.removal() in text


@pytest.mark.parametrize("rules", [GATEWAY, SIDECAR], ids=["a gateway", "a sidecar"])
def test_iptables_drop_before_they_lead_and_jump_once_to_each_chain(rules: Arrangement) -> None:
    for six in (False, True):
        text = iptables.ruleset(rules, six=six)
        assert [line for line in text.splitlines() if line.startswith("*")][-1] == "*nat"
        for table, name, hook in iptables.names(type(rules)):
            assert text.count(f":{name} - [0:0]") == 1, table
            assert text.count(f"-I {hook} 1 -j {name}\n") == (1 if hook else 0)
        assert ("icmpv6" in text) is six


def test_ports_and_interfaces_stand_where_they_were_asked_for() -> None:
    gateway = Gateway(uid=7, inside=("eth1",), explicit_ports=(8080, 8443))
    assert "tcp dport { 8080, 8443 } accept" in nftables.ruleset(gateway)
    assert "-p tcp --dport 8443 -j ACCEPT" in iptables.ruleset(gateway, six=False)
    sidecar = Sidecar(uid=7, explicit_ports=(8080,), closed_ports=(6379,), inbound_ports=(3000,))
    text = nftables.ruleset(sidecar)
    assert "meta skuid 7 tcp sport { 8080 } accept" in text
    assert "th dport { 6379 } reject" in text
    assert "tcp dport 3000 accept" in text
    assert f"{OWN_MARK:#x}" in iptables.ruleset(sidecar, six=True)
