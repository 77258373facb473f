"""Explicit denials: what they name, and that in doubt they deny."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import operation
from questions import call, deny

from proxy.core.denials import compile_denials
from proxy.core.errors import Code, Rejected
from proxy.core.matching import destination_of
from proxy.core.model import DenyRule, QueryRule


def denied(url: str, *rules: DenyRule, method: str = "GET") -> str | None:
    asked = call(url, method)
    found = compile_denials(rules).find(asked, destination_of(asked))
    return None if found is None else found.id


CUSTOMERS = operation("customers", methods=("GET", "DELETE"), template="/v1/customers/{id}")
FILES = operation("files", template="/files/{path:rest}")
REPORT = operation("report", template="/report.{format}")
ADMIN = operation("admin", template="/v1/search", query=(QueryRule(name="admin", values=frozenset({"1"})),))

PURGE = operation("purge", template="/v1/{name}:purge")
PRODUCT = operation("product", template="/odata/Products({id})")
ENCODED = operation("encoded", template="/v1/rooms%3Aall")
PLUS = operation("plus", template="/v1/search", query=(QueryRule(name="scope", values=frozenset({"a+b"})),))
SPACE = operation("space", template="/v1/search", query=(QueryRule(name="scope", values=frozenset({"a b"})),))


@pytest.mark.parametrize(
    ("url", "rule", "is_denied"),
    [
        pytest.param("https://erp.example/x", deny(), True, id="every operation of a host"),
        pytest.param("http://erp.example:8080/x", deny(), True, id="on every port and scheme when none is given"),
        pytest.param("https://www.example/x", deny(), False, id="another host passes"),
        pytest.param("https://a.erp.example/x", deny(), False, id="an exact host is not a wildcard"),
        pytest.param("https://a.b.example/x", deny(hosts=["*.example"]), True, id="a wildcard, two labels up"),
        pytest.param("https://example/x", deny(hosts=["*.example"]), False, id="a wildcard is not its apex"),
        pytest.param("https://notexample/x", deny(hosts=["*.example"]), False, id="a longer name is not a child"),
        pytest.param("https://10.0.0.1/x", deny(hosts=["10.0.0.1"]), True, id="an address"),
        pytest.param("https://erp.example/x", deny(ports=[8443]), False, id="another port passes"),
        pytest.param("https://erp.example:8443/x", deny(ports=[8443]), True, id="its port does not"),
        pytest.param("http://erp.example/x", deny(schemes=["https"]), False, id="another scheme passes"),
        pytest.param("https://erp.example/x", deny(schemes=["https"]), True, id="its scheme does not"),
        pytest.param("https://erp.example/v1/customers/42", deny(operations=[CUSTOMERS]), True, id="an operation"),
        pytest.param("https://erp.example/v1/orders/42", deny(operations=[CUSTOMERS]), False, id="another path passes"),
        pytest.param(
            "https://erp.example/v1/customers/42?x=1", deny(operations=[CUSTOMERS]), True, id="a query is no way round"
        ),
        pytest.param(
            "https://erp.example/v1/customers/42/", deny(operations=[CUSTOMERS]), True, id="nor is a closing slash"
        ),
        pytest.param(
            "https://erp.example/v1/customers/a%2Fb", deny(operations=[CUSTOMERS]), True, id="nor an encoded slash"
        ),
        pytest.param(
            "https://erp.example/v1%2Fcustomers/42", deny(operations=[CUSTOMERS]), True, id="nor one in a literal"
        ),
        pytest.param(
            "https://erp.example/v1%2Fcustomers/42/", deny(operations=[CUSTOMERS]), True, id="nor both of them"
        ),
        pytest.param("https://erp.example/files/a/b%2Fc", deny(operations=[FILES]), True, id="nor one in a rest"),
        pytest.param(
            "https://erp.example/v1/customers;v=2/42", deny(operations=[CUSTOMERS]), True, id="nor a matrix parameter"
        ),
        pytest.param(
            "https://erp.example/v1/customers/42;v=2", deny(operations=[CUSTOMERS]), True, id="nor one behind the id"
        ),
        pytest.param(
            "https://erp.example/v1/customers%3Bv=2/42", deny(operations=[CUSTOMERS]), True, id="nor an encoded one"
        ),
        pytest.param(
            "https://erp.example/v1/customers;v=2%2F42",
            deny(operations=[CUSTOMERS]),
            True,
            id="nor with a slash behind",
        ),
        pytest.param(
            "https://erp.example/v1%2Fcustomers;v=2/42/", deny(operations=[CUSTOMERS]), True, id="nor with all of it"
        ),
        pytest.param(
            "https://erp.example/v1;a%3Bb/customers;c/42;d", deny(operations=[CUSTOMERS]), True, id="nor in every part"
        ),
        pytest.param(
            "https://erp.example/v1/orders;customers/42", deny(operations=[CUSTOMERS]), False, id="another name passes"
        ),
        pytest.param("https://erp.example/files/a;x/b", deny(operations=[FILES]), True, id="nor one in a rest"),
        pytest.param("https://erp.example/report.pdf", deny(operations=[REPORT]), True, id="a text with a suffix"),
        pytest.param("https://erp.example/report;x.pdf", deny(operations=[REPORT]), False, id="a text without it"),
        pytest.param("https://erp.example/report.pdf;x", deny(operations=[REPORT]), True, id="and what hides it"),
        pytest.param("https://erp.example/report.a%2Fb", deny(operations=[REPORT]), True, id="or is in its place"),
        pytest.param("https://erp.example/v1/x:purge", deny(operations=[PURGE]), True, id="a colon"),
        pytest.param("https://erp.example/v1/x%3Apurge", deny(operations=[PURGE]), True, id="D01 an encoded colon"),
        pytest.param("https://erp.example/v1/x%3Aread", deny(operations=[PURGE]), False, id="another verb passes"),
        pytest.param(
            "https://erp.example/odata/Products%2817)", deny(operations=[PRODUCT]), True, id="D01 encoded brackets"
        ),
        pytest.param("https://erp.example/v1/rooms:all", deny(operations=[ENCODED]), True, id="D01 one not encoded"),
        pytest.param(
            "https://erp.example/v1/x%3Apurge;y%2Fz", deny(operations=[PURGE]), True, id="D01 with all the rest"
        ),
        pytest.param("https://erp.example/v1/search?scope=a%2Bb", deny(operations=[PLUS]), True, id="a plus"),
        pytest.param("https://erp.example/v1/search?scope=a+b", deny(operations=[PLUS]), True, id="D02 a raw plus"),
        pytest.param("https://erp.example/v1/search?scope=a+b", deny(operations=[SPACE]), True, id="D02 as a space"),
        pytest.param("https://erp.example/v1/search?scope=a%20b", deny(operations=[SPACE]), True, id="a space"),
        pytest.param("https://erp.example/v1/search?scope=a-b", deny(operations=[PLUS]), False, id="neither passes"),
        pytest.param("https://erp.example/", deny(operations=[CUSTOMERS]), False, id="the root passes"),
        pytest.param("https://erp.example/v1/search?admin=1", deny(operations=[ADMIN]), True, id="a named query"),
        pytest.param("https://erp.example/v1/search?admin[]=1", deny(operations=[ADMIN]), True, id="D02 as an array"),
        pytest.param("https://erp.example/v1/search?Admin=1", deny(operations=[ADMIN]), True, id="D02 in capitals"),
        pytest.param(
            "https://erp.example/v1/search?admin=%2531", deny(operations=[ADMIN]), True, id="D02 encoded twice"
        ),
        pytest.param(
            "https://erp.example/v1/search?admin=0", deny(operations=[ADMIN]), False, id="another value passes"
        ),
        pytest.param("https://erp.example/v1/search", deny(operations=[ADMIN]), False, id="no query passes"),
    ],
)
def test_what_a_denial_denies(url: str, rule: DenyRule, is_denied: bool) -> None:
    found = denied(url, rule)
    assert (found is not None) is is_denied


def test_the_method_of_an_operation_counts() -> None:
    rule = deny(operations=[CUSTOMERS])
    assert denied("https://erp.example/v1/customers/42", rule, method="DELETE") is not None
    assert denied("https://erp.example/v1/customers/42", rule, method="PUT") is None


def test_of_several_the_first_by_id_is_named_whatever_their_order() -> None:
    rules = [deny("c"), deny("a", hosts=["*.example"]), deny("b", operations=[CUSTOMERS])]
    for order in (rules, rules[::-1]):
        assert denied("https://erp.example/v1/customers/42", *order) == "a"


def test_the_place_named_is_the_operations() -> None:
    assert denied("https://erp.example/v1/customers/42", deny(operations=[CUSTOMERS])) == CUSTOMERS.at.id


def test_no_denial_denies_nothing() -> None:
    assert denied("https://erp.example/x") is None


def test_denials_of_one_host_may_not_overlap_beyond_the_bound() -> None:
    rules = [deny(f"d{number}", operations=[CUSTOMERS]) for number in range(33)]
    with pytest.raises(Rejected, match="one path could mean more than 32") as refused:
        compile_denials(rules)
    assert refused.value.code is Code.CONFIG_INVALID
    compile_denials(rules[:32])


@given(
    st.lists(st.sampled_from(["erp.example", "*.example", "*.erp.example", "a.erp.example"]), min_size=1, unique=True)
)
@settings(max_examples=30)
def test_a_further_denial_never_permits(hosts: list[str]) -> None:
    rules = [deny(f"d{number}", hosts=[host]) for number, host in enumerate(hosts)]
    for url in ("https://erp.example/", "https://a.erp.example/", "https://b.example/"):
        fewer = denied(url, *rules[:-1])
        assert fewer is None or denied(url, *rules) is not None
