"""An upstream proxy named in our environment is ignored: HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, in both cases.

The street's deployment runs with all of them set to `trap`; so every twin of the corpus shows the same. Here the
twin goes through another node, whose environment has none of them.
"""

from collections.abc import Iterator

from attacks import Case
from shots import Shot, fire
from streets import Street


def cases(way: str) -> Iterator[Case]:
    def through_the_other_node(street: Street):
        assert not any("proxy" in name.lower() for name in street.other_node.environment())
        return fire(street, way, Shot(), house=street.other_node)

    def through_the_node_with_variables(street: Street):
        wanted = {f"http://127.0.0.1:{street.listeners['trap']['plain'].port}"}
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        assert {street.house.environment()[name] for name in names} == wanted
        return fire(street, way, Shot())

    yield Case(
        threat="B03",
        name="the environment names an upstream proxy",
        way=way,
        twin=through_the_other_node,
        attack=through_the_node_with_variables,
        code=None,
        may_see=frozenset({"home"}),
        dials=frozenset({"127.0.0.1"}),
        looks_up=frozenset({"erp.example"}),
    )
