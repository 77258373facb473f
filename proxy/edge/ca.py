"""The proxy's own certificate authority. A sidecar's is made of the same parts: `proxy.agent.authority`."""

from proxy.agent.authority import CA_LIFE as CA_LIFE
from proxy.agent.authority import Authority as Authority
from proxy.agent.authority import Leaf as Leaf
from proxy.agent.authority import load_authority as load_authority
