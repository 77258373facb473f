"""Credentials that the proxy sets: on allowed calls alone, where they belong alone, and seen by nobody else."""

import base64
import json
import secrets
from datetime import UTC, datetime
from urllib.parse import quote

import identities
import pytest
from desks import HouseDesk
from houses import WAYS
from keepers import PLACEHOLDER, VALUES, Keeper, fresh, spellings
from nodes import wait_for, wait_for_state
from origin_replies import Reply, Request, echo

from proxy.core.model import HoldState, Verdict
from proxy.policy.bundle import sign_bundle
from proxy.review.granting import Width

TOKEN = VALUES["erp-token"]


def path() -> str:
    return f"/v1/invoices/{secrets.token_hex(6)}"


def seen(keeper: Keeper, target: str, way: str = "plain") -> Request:
    (request,) = [each for each in keeper.origin(way).requests if each.path == target]
    return request


def code_of(body: bytes) -> str:
    return str(json.loads(body)["code"])


# --- set -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="the agent sends nothing"),
        pytest.param((("Authorization", f"Bearer {PLACEHOLDER}"),), id="the agent sends a placeholder"),
    ],
)
def test_an_allowed_call_gets_it_in_place_of_whatever_its_agent_sent(
    keeper: Keeper, way: str, headers: tuple[tuple[str, str], ...]
) -> None:
    target = path()
    answer = keeper.house.call("GET", keeper.url(target, way=way), headers=headers)
    assert answer.status == 200, answer
    request = seen(keeper, target, way)
    assert request.all("authorization") == (f"Bearer {TOKEN}",)
    assert PLACEHOLDER.encode() not in request.raw


BASIC = base64.b64encode(f"svc:{VALUES['password']}".encode()).decode()


@pytest.mark.parametrize(
    ("host", "sent", "asked", "got", "target"),
    [
        pytest.param("header", ("X-Api-Key", PLACEHOLDER), "", ("x-api-key", VALUES["api-key"]), "", id="in a header"),
        pytest.param(
            "header", ("x_api_key", PLACEHOLDER), "", ("x-api-key", VALUES["api-key"]), "", id="spelt as CGI does"
        ),
        pytest.param(
            "basic", ("Authorization", "Basic eDp5"), "", ("authorization", f"Basic {BASIC}"), "", id="as a password"
        ),
        pytest.param(
            "query",
            ("X-Other", "stays"),
            f"?a=1&key={PLACEHOLDER}&key[]=x&b=%2F",
            ("x-other", "stays"),
            f"?a=1&b=%2F&key={quote(VALUES['query-key'], safe='')}",
            id="in the query",
        ),
        pytest.param(
            "printed",
            ("X-Other", "stays"),
            "",
            ("authorization", f"Bearer {VALUES['api-key']}"),
            "",
            id="from a command",
        ),
    ],
)
def test_each_way_of_setting_it(
    keeper: Keeper, host: str, sent: tuple[str, str], asked: str, got: tuple[str, str], target: str
) -> None:
    where = path()
    answer = keeper.house.call("GET", keeper.url(where + asked, host=host), headers=[sent], intent="")
    assert answer.status == 200, answer
    request = seen(keeper, where)
    assert request.header(got[0]) == got[1]
    assert request.target == where + target
    assert PLACEHOLDER.encode() not in request.raw


def test_at_an_address_that_has_no_name(keeper: Keeper) -> None:
    target = path()
    assert keeper.house.call("GET", keeper.plain.url(target, host="127.0.0.1"), intent="").status == 200
    assert seen(keeper, target).header("x-api-key") == VALUES["api-key"]


def test_a_cluster_without_one_sets_none_and_leaves_the_agents_own(keeper: Keeper) -> None:
    target = path()
    own = [("Authorization", "Bearer mine"), ("Accept-Encoding", "gzip")]
    assert keeper.house.call("GET", keeper.url(target, host="open"), headers=own, intent="").status == 200
    request = seen(keeper, target)
    assert (request.header("authorization"), request.header("accept-encoding")) == ("Bearer mine", "gzip")


def test_a_rotated_secret_counts_at_once(keeper: Keeper) -> None:
    for value in (fresh("second"), VALUES["api-key"]):
        keeper.put("api-key", value)
        target = path()
        assert keeper.house.call("GET", keeper.url(target, host="header"), intent="").status == 200
        assert seen(keeper, target).header("x-api-key") == value


# --- not set ---------------------------------------------------------------------------------------------------------


def test_a_denied_or_held_call_sends_nothing(keeper: Keeper) -> None:
    before = keeper.plain.mark()
    held = keeper.house.call("DELETE", keeper.url(path()))
    denied = keeper.house.call("GET", "http://169.254.169.254/latest/meta-data")
    assert (held.status, denied.status) == (403, 403)
    assert keeper.plain.since(before).nothing


def test_clusters_that_disagree_set_none_until_one_is_declared(keeper: Keeper) -> None:
    before, url = keeper.plain.mark(), keeper.url(path(), host="both")
    answer = keeper.house.call("GET", url, intent="")
    assert (answer.status, code_of(answer.body)) == (403, "credential.unclear")
    assert keeper.plain.since(before).nothing
    got = {}
    for cluster in ("both-with", "both-without"):
        target = path()
        url = keeper.url(target, host="both")
        assert keeper.house.call("GET", url, intent=f'cluster="{cluster}"').status == 200
        got[cluster] = seen(keeper, target).header("authorization")
    assert got == {"both-with": f"Bearer {VALUES['api-key']}", "both-without": None}


def test_a_secret_that_is_missing_is_a_503_and_nothing_is_sent_until_it_is_there(keeper: Keeper) -> None:
    before, target = keeper.plain.mark(), path()
    answer = keeper.house.call("GET", keeper.url(target, host="lost"), intent="")
    assert (answer.status, code_of(answer.body)) == (503, "service.credential")
    assert answer.header("retry-after") is not None
    assert b"secrets" not in answer.body, "where it is kept is nobody's business"
    assert keeper.plain.since(before).nothing
    keeper.put("lost", fresh("found"))
    assert keeper.house.call("GET", keeper.url(target, host="lost"), intent="").status == 200
    (keeper.folder / "lost").chmod(0o644)
    assert keeper.house.call("GET", keeper.url(target, host="lost"), intent="").status == 503
    (keeper.folder / "lost").unlink()
    wait_for(
        lambda: any("secret lost" in line and "chmod" in line for line in keeper.house.output), "the log has the mend"
    )


def test_a_bundle_that_names_an_unknown_secret_stays_out_and_a_missing_one_is_told(keeper: Keeper) -> None:
    """Its twin, which names what proxy.yaml tells of, comes into force."""
    rules, operator, target = keeper.house.folder / "clusters.yaml", identities.key("operator"), path()
    good = rules.read_text()
    (line,) = [n for n, text in enumerate(good.splitlines(), 1) if "id: header" in text]

    def says(*words: str) -> bool:
        return any(all(word in line for word in words) for line in keeper.house.output)

    rules.write_text(good.replace("{secret: api-key, header: X-Api-Key", "{secret: api-keys, header: X-Api-Key"))
    sign_bundle(keeper.house.settings, operator, now=datetime.now(UTC))
    unknown = 'there is no secret "api-keys" in proxy.yaml; did you mean "api-key"?'
    wait_for(lambda: says("stays in force", f'clusters.yaml:{line}: credential of cluster "header": {unknown}'), "told")
    assert keeper.house.call("GET", keeper.url(target, host="header"), intent="").status == 200
    assert seen(keeper, target).header("x-api-key") == VALUES["api-key"]
    in_force(keeper, good)
    assert says("secrets.lost: ", "cannot be read: No such file or directory; put the secret there")


# --- held, released, delivered ---------------------------------------------------------------------------------------


def test_a_released_call_gets_the_secret_of_that_moment(keeper: Keeper) -> None:
    chain, url = keeper.house.chain(), keeper.url(path())
    own = [("Authorization", f"Bearer {PLACEHOLDER}")]
    answer = keeper.house.call("DELETE", url, chain=chain, headers=own, intent='cluster="supplier-invoices"')
    hold = json.loads(answer.body)["task"]["id"]
    keeper.put("erp-token", fresh("rotated"))
    keeper.house.decide(hold, Verdict.ALLOW)
    try:
        value = (keeper.folder / "erp-token").read_text().strip()
        again = keeper.house.call("DELETE", url, chain=chain, headers=own, intent='cluster="supplier-invoices"')
        assert again.status == 200, again
        assert seen(keeper, url[url.index("/v1") :]).header("authorization") == f"Bearer {value}"
    finally:
        keeper.put("erp-token", TOKEN)


def test_a_call_with_a_placeholder_is_delivered_with_the_secret(keeper: Keeper) -> None:
    chain, target = keeper.house.chain(), f"/v1/payments/{secrets.token_hex(6)}"
    own = [("Authorization", f"Bearer {PLACEHOLDER}")]
    keeper.plain.on("POST", target, echo)
    answer = keeper.house.call("POST", keeper.url(target), chain=chain, headers=own, body=b"{}", intent="")
    assert "sends it itself" in json.loads(answer.body)["detail"]
    hold = json.loads(answer.body)["task"]["id"]
    keeper.house.decide(hold, Verdict.ALLOW)
    wait_for_state(keeper.house, hold, HoldState.RELEASED)
    assert seen(keeper, target).header("authorization") == f"Bearer {TOKEN}"


def test_a_release_is_for_the_credential_that_its_reviewer_saw(keeper: Keeper) -> None:
    """Its cluster has another one since. The twin: it has the first again, and the release counts."""
    chain, url, before = keeper.house.chain(), keeper.url(path()), keeper.plain.mark()
    rules, intent = keeper.house.folder / "clusters.yaml", 'cluster="supplier-invoices"'
    good = rules.read_text()
    hold = json.loads(keeper.house.call("DELETE", url, chain=chain, intent=intent).body)["task"]["id"]
    keeper.house.decide(hold, Verdict.ALLOW)
    in_force(keeper, good.replace("secret: erp-token", "secret: api-key"))
    answer = keeper.house.call("DELETE", url, chain=chain, intent=intent)
    in_force(keeper, good)
    assert (answer.status, code_of(answer.body)) == (403, "release.invalid")
    assert keeper.plain.since(before).nothing
    assert keeper.house.call("DELETE", url, chain=chain, intent=intent).status == 200
    assert seen(keeper, url[url.index("/v1") :]).header("authorization") == f"Bearer {TOKEN}"


def in_force(keeper: Keeper, clusters: str) -> None:
    """Sign these clusters, and wait for the proxy to take them up."""
    (keeper.house.folder / "clusters.yaml").write_text(clusters)
    version = sign_bundle(keeper.house.settings, identities.key("operator"), now=datetime.now(UTC)).version
    told = f"version {version} is in force"
    wait_for(lambda: any(told in line for line in keeper.house.output), told)


def test_a_release_waits_for_a_secret_that_is_missing(keeper: Keeper) -> None:
    chain, url, before = keeper.house.chain(), keeper.url(path(), host="lost"), keeper.plain.mark()
    hold = json.loads(keeper.house.call("DELETE", url, chain=chain, intent="").body)["task"]["id"]
    keeper.house.decide(hold, Verdict.ALLOW)
    answer = keeper.house.call("DELETE", url, chain=chain, intent="")
    assert (answer.status, code_of(answer.body)) == (503, "service.credential")
    assert keeper.house.hold(hold).state is HoldState.APPROVED, "it is not used up"
    assert keeper.plain.since(before).nothing
    keeper.put("lost", value := fresh("found"))
    assert keeper.house.call("DELETE", url, chain=chain, intent="").status == 200
    (keeper.folder / "lost").unlink()
    assert seen(keeper, url[url.index("/v1") :]).header("authorization") == f"Bearer {value}"


def test_a_call_that_a_grant_lets_pass_gets_it(keeper: Keeper) -> None:
    chain, desk = keeper.house.chain(), HouseDesk(house=keeper.house)
    first, second = (keeper.url(f"/v1/stock/{secrets.token_hex(4)}") for _ in range(2))
    intent = 'cluster="supplier-invoices"'
    hold = json.loads(keeper.house.call("GET", first, chain=chain, intent=intent).body)["task"]["id"]
    desk.grant(hold, Width(path="/v1/stock/{id}", count=1))
    assert keeper.house.call("GET", second, chain=chain, intent=intent).status == 200
    assert seen(keeper, second[second.index("/v1") :]).header("authorization") == f"Bearer {TOKEN}"


# --- what comes back -------------------------------------------------------------------------------------------------


def test_an_origin_that_repeats_it_tells_the_agent_nothing(keeper: Keeper) -> None:
    target = path()
    echoed = f"{keeper.plain.url('/next')}?key={quote(TOKEN, safe='')}&a=1"
    body = json.dumps({"token": TOKEN, "html": TOKEN.replace("&", "&amp;").replace('"', "&quot;")}).encode()
    half = len(body) // 3
    reply = Reply(
        status=302,
        headers=(("Location", echoed), ("X-Echo", f"Bearer {TOKEN}"), ("Set-Cookie", f"t={TOKEN}")),
        stream=[body[:half], body[half : half + 7], body[half + 7 :]],
    )
    keeper.plain.on("GET", target, reply)
    answer = keeper.house.call("GET", keeper.url(target))
    assert answer.status == 302
    assert answer.header("location") == f"{keeper.plain.url('/next')}?key=credential-removed&a=1"
    assert len(answer.body) == len(body)
    assert json.loads(answer.body)["token"] == "*" * (len(json.dumps(TOKEN)) - 2)
    everything = answer.body + repr(answer).encode()
    assert not [each for each in spellings(TOKEN) if each in everything]


def test_an_agent_that_guesses_sees_no_difference(keeper: Keeper) -> None:
    """An origin that says again what it was asked, at the very end: it would tell the secret character by character."""
    for guess in (TOKEN[:20], TOKEN[:19] + "!"):
        target = path()
        keeper.plain.on("GET", target, Reply(body=f"no such thing: {guess}".encode()))
        assert keeper.house.call("GET", keeper.url(target)).body == f"no such thing: {guess}".encode()
