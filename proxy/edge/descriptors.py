"""How many connections a worker may have: a share of its descriptors, so that stores and journal keep theirs."""

import resource
from typing import NamedTuple

MOST_DESCRIPTORS = 65_536
SPARE_DESCRIPTORS = 128  # for the stores, the journal, and whatever else is not a connection
FEWEST = 16


class MostConnections(NamedTuple):
    """At a time, in one worker."""

    clients: int
    origins: int


def most_connections() -> MostConnections:
    """What this process has room for, once its soft limit on descriptors is raised to the hard one.

    One connection in three is a client's: over HTTP/1 each may keep a few to origins, over HTTP/2 have many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, MOST_DESCRIPTORS) if hard != resource.RLIM_INFINITY else MOST_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    left = soft - SPARE_DESCRIPTORS
    clients = max(FEWEST, left // 3)
    return MostConnections(clients=clients, origins=max(FEWEST, left - clients))
