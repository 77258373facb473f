"""People and agents of the signed policy by their ids, with the nearest name where there is none of that one."""

from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, Bundle, Person
from proxy.policy.faults import instead, shown


def person_in(bundle: Bundle, name: str) -> Person:
    """The person of that id.

    Raises:
        Rejected(CONFIG_INVALID): nobody has it; the nearest one is named.
    """
    person = bundle.people.get(name)
    if person is None:
        raise Rejected(Code.CONFIG_INVALID, f"there is no person {shown(name)}{instead(name, bundle.people)}")
    return person


def agent_in(bundle: Bundle, name: str) -> Agent:
    """The agent of that id.

    Raises:
        Rejected(CONFIG_INVALID): none has it; the nearest one is named.
    """
    agent = bundle.agents.get(name)
    if agent is None:
        raise Rejected(Code.CONFIG_INVALID, f"there is no agent {shown(name)}{instead(name, bundle.agents)}")
    return agent
