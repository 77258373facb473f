"""agents.yaml: the inventory of agents, each with the human who answers for it."""

from collections.abc import Collection

from proxy.core.certificates import is_spiffe_id
from proxy.core.errors import Rejected
from proxy.core.model import Agent, AgentClass, Bindings
from proxy.core.places import read_source
from proxy.policy.document import (
    THE_FILE,
    Fields,
    Misread,
    Reader,
    choice,
    flag,
    identifier,
    listed,
    one_line,
    public_key,
    version,
    word,
)
from proxy.policy.faults import Faults, instead, shown
from proxy.policy.people import Enrolled
from proxy.policy.yaml import Items, Node, Scalar, Table


def read_agents(root: Table, faults: Faults, enrolled: Enrolled, *, people: Collection[str] | None) -> dict[str, Agent]:
    """The agents of the file, by id; what is wrong goes to `faults`.

    `people`: the Person.ids a sponsor may be; None when they are not known, so that none is checked.
    """
    fields = Fields(root, THE_FILE, faults)
    fields.need("version", version, 1)
    sponsor = _one_of(people, "person")
    other = _one_of(_ids(root), "agent")
    agents: dict[str, Agent] = {}
    bound: dict[str, str] = {}
    for entry in fields.each("agents", "agent", named_by="id", needed=True):
        kind = entry.need("class", choice(AgentClass), AgentClass.EMBEDDED)
        agent = Agent(
            id=entry.need("id", identifier, ""),
            owner=entry.need("owner", one_line, ""),
            sponsor=entry.need("sponsor", sponsor, ""),
            agent_class=kind,
            must_declare=entry.take("must_declare", flag, kind is AgentClass.EMBEDDED),
            may_delegate_to=frozenset(entry.take("may_delegate_to", listed(other, empty=True), ())),
            keys=entry.take("keys", listed(public_key, empty=True), ()),
            bindings=_bindings(entry),
        )
        for spiffe_id in sorted(agent.bindings.spiffe):
            other_agent = bound.setdefault(spiffe_id, agent.id)
            if other_agent != agent.id:
                entry.fault("bindings", f"{spiffe_id} is already that of agent {shown(other_agent)}; it is one agent's")
        enrolled.claim(entry, agent.id, agent.keys, whose=f"agent {shown(agent.id)}")
        entry.done()
        agents.setdefault(agent.id, agent)
    fields.done()
    return agents


def _bindings(entry: Fields) -> Bindings:
    fields = entry.inner("bindings")
    if fields is None:
        return Bindings()
    bindings = Bindings(
        spiffe=frozenset(fields.take("spiffe", listed(_spiffe_id, empty=True), ())),
        source=frozenset(fields.take("source", listed(_source, empty=True), ())),
    )
    fields.done()
    return bindings


def _spiffe_id(node: Node) -> str:
    text = word(node)
    if not is_spiffe_id(text):
        raise Misread(node, f"expected a SPIFFE id such as spiffe://example.org/invoice-bot, got {shown(text)}")
    return text


def _source(node: Node) -> str:
    text = word(node)
    try:
        interface, address, generation = read_source(text)
    except Rejected as fault:
        raise Misread(node, fault.detail) from None
    return f"{interface} {address} {generation}".rstrip()


def _ids(root: Table) -> frozenset[str]:
    """Every id in the file, so that an agent may name one further down."""
    agents = root.get("agents")
    entries = [node for node in agents.nodes if isinstance(node, Table)] if isinstance(agents, Items) else []
    names = (entry.get("id") for entry in entries)
    return frozenset(name.text for name in names if isinstance(name, Scalar))


def _one_of(known: Collection[str] | None, kind: str) -> Reader[str]:
    def read(node: Node) -> str:
        name = identifier(node)
        if known is not None and name not in known:
            raise Misread(node, f"there is no {kind} {shown(name)}{instead(name, known)}")
        return name

    return read
