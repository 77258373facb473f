"""`manifest`: what the sponsor is shown, what is signed, and what becomes of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import identities
import pytest
from clirun import cli

from proxy.agent.keyfile import load_key, save_key
from proxy.core.keys import jwk
from proxy.core.manifest import issue_root, parse_manifest
from proxy.core.model import Constraints
from proxy.core.verify import Lifetimes, verify_chain
from proxy.policy.bundle import load_bundle
from proxy.policy.chains import read_links, write_chain_file
from proxy.policy.settings import load_settings

READS, WRITES = "erp-example-443", "erp-example-443-changes"
PURPOSE = ("--purpose", "Match invoices.")
SIGN = ("--agent", "robot", "--cluster", READS, *PURPOSE)


@pytest.fixture
def current(home: Path) -> Path:
    """The manifest that `init` signed."""
    return home / "manifests" / "robot.jws"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# --- draft -----------------------------------------------------------------------------------------------------------


def test_a_draft_grants_everything_in_the_clusters_named_and_can_be_signed_as_it_is(home: Path) -> None:
    ran = cli("manifest", "draft", "--agent", "robot", "--cluster", READS, *PURPOSE).ok()
    path = home / "manifests" / "robot.draft.yaml"
    assert f"{path} grants everything in {READS}" in ran.out
    assert "- get-v1-invoices-id # get-v1-invoices-id: GET /v1/invoices/{id} with query page (any value)" in (
        path.read_text()
    )
    signed = cli("manifest", "sign", path, "--yes", "--json").ok().json["manifest"]
    assert (signed["agent"], signed["sponsor"], signed["purpose"], signed["max_depth"]) == (
        "robot",
        "ada",
        "Match invoices.",
        1,
    )
    (grant,) = signed["grants"]
    assert (grant["identifier"], grant["actions"], grant["locations"], grant["constraints"]) == (
        READS,
        ["get-v1-invoices-id"],
        ["https://erp.example"],
        {},
    )


def test_several_clusters_must_be_named(home: Path) -> None:
    ran = cli("manifest", "draft", "--agent", "robot", *PURPOSE)
    assert (ran.code, f"name a cluster with --cluster; there are {READS}, {WRITES}" in ran.err) == (2, True)
    ran = cli("manifest", "draft", "--agent", "robot", "--cluster", "nothing", *PURPOSE)
    assert (ran.code, "there is no cluster 'nothing'" in ran.err) == (2, True)


def test_what_was_struck_out_and_narrowed_in_a_draft_is_signed_so(home: Path) -> None:
    cli("manifest", "draft", "--agent", "robot", "--cluster", READS, *PURPOSE, "--lifetime", "8h").ok()
    path = home / "manifests" / "robot.draft.yaml"
    edit(path, "# constraints: {methods: [GET], params: {id: ['17']}, query: {status: [open]}, body: {/payee: [17]}}",
         "constraints: {methods: [GET], params: {id: ['17', '18']}, query: {page: ['1']}}")  # fmt: skip
    edit(path, "depth: 1", "depth: 2")
    ran = cli("manifest", "sign", path, "--yes").ok()
    assert "Only with path parameter id = 17 or 18." in ran.out
    (link,) = read_links(home / "manifests" / "robot.jws")
    (grant,) = link.grants
    assert grant.constraints.params == {"id": {"17", "18"}} and grant.constraints.query == {"page": {"1"}}
    assert (link.del_max_depth, link.exp - link.iat) == (2, timedelta(hours=8))
    url = "https://erp.example/v1/invoices/"
    assert cli("explain", "GET", f"{url}17?page=1", "--agent", "robot").code == 0
    assert cli("explain", "GET", f"{url}19?page=1", "--agent", "robot").code == 10


def test_a_draft_narrows_what_bodies_may_hold(home: Path, tmp_path: Path) -> None:
    cli("manifest", "draft", "--agent", "robot", "--cluster", WRITES, *PURPOSE, "--lifetime", "8h").ok()
    path = home / "manifests" / "robot.draft.yaml"
    hint = "# constraints: {methods: [GET], params: {id: ['17']}, query: {status: [open]}, body: {/payee: [17]}}"
    edit(path, hint, "constraints: {body: {/payee: [88, x], /amount: [true, null, '5']}}")
    ran = cli("manifest", "sign", path, "--yes").ok()
    assert 'Only with body field /payee = "x" or 88.' in ran.out
    (link,) = read_links(home / "manifests" / "robot.jws")
    assert link.grants[0].constraints.body == {"/payee": {'"x"', "88"}, "/amount": {"true", "null", '"5"'}}

    def explained(body: str) -> tuple[int, object]:
        (tmp_path / "pay.json").write_text(body)
        pay = ("explain", "POST", "https://erp.example/v1/payments", "--agent", "robot", "--json")
        ran = cli(*pay, "--header", "Content-Type: application/json", "--body", tmp_path / "pay.json")
        return ran.code, ran.json["code"]

    assert explained('{"payee": 88, "amount": true}') == (0, "allowed")
    assert explained('{"payee": 89, "amount": true}') == (10, "mandate.not_covered")
    assert explained('{"payee": 88, "payee": 89}') == (11, "body.malformed")
    with (home / "proxy.yaml").open("a") as settings:
        settings.write("limits: {inspected: 1KiB}\n")
    assert explained('{"payee": 88, "amount": true}' + " " * 1024) == (10, "body.not_inspected")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "- get-v1-invoices-id #", "- get-v1-invoice-id #", 'did you mean "get-v1-invoices-id"?', id="typo"
        ),
        pytest.param('"https://erp.example"', '"https://other.example"', "does not reach", id="another place"),
        pytest.param('"https://erp.example"', '"https://ERP.example"', "scheme://host", id="a place misspelt"),
        pytest.param(f"cluster: {READS}", "cluster: erp", "there is no cluster", id="an unknown cluster"),
        pytest.param("purpose:", "purposes:", 'did you mean "purpose"?', id="a misspelt key"),
        pytest.param("lifetime: 30d", "lifetime: 400d", "from 1m to 366d", id="an impossible lifetime"),
    ],
)
def test_a_wrong_draft_is_told_with_its_line(home: Path, old: str, new: str, said: str) -> None:
    cli("manifest", "draft", "--agent", "robot", "--cluster", READS, *PURPOSE).ok()
    path, before = home / "manifests" / "robot.draft.yaml", (home / "manifests" / "robot.jws").read_bytes()
    edit(path, old, new)
    ran = cli("manifest", "sign", path, "--yes")
    assert (ran.code, said in ran.err) == (1, True), ran.err
    assert ran.err.startswith("intent-proxy: robot.draft.yaml:")
    assert (home / "manifests" / "robot.jws").read_bytes() == before


# --- sign ------------------------------------------------------------------------------------------------------------


def test_the_sponsor_is_shown_each_cluster_in_words_and_what_changes(home: Path, current: Path) -> None:
    ran = cli("manifest", "sign", "--agent", "robot", "--cluster", READS, "--purpose", "Read.", "--yes").ok()
    for line in (
        "Manifest for robot",
        "answers for it  Ada Example (ada)",
        "It permits get-v1-invoices-id: GET /v1/invoices/{id} with query page (any value).",
        "The agent may: all of these operations.",
        f"Against {current} it",
        'changes the purpose from "Match invoices." to "Read."',
        f"removes cluster {WRITES}",
        f"signed by ada: {current}, until ",
    ):
        assert line in ran.out
    assert ran.out.index("Against") < ran.out.index("signed by ada")


def test_what_was_signed_verifies_as_the_proxy_verifies(home: Path, current: Path) -> None:
    settings = load_settings(home / "proxy.yaml")
    bundle = load_bundle(settings, dev=False, floor=0)
    (root,) = read_links(current)
    leaf = identities.child(
        root.token, signer=load_key(home / "keys" / "robot.pem"), now=datetime.now(UTC), lifetime_s=60
    )
    mandate = verify_chain((root.token, leaf), bundle, lifetimes=Lifetimes(), now=datetime.now(UTC))
    assert (mandate.agent.id, mandate.sponsor.id) == ("robot", "ada")
    assert {grant.digest for grant in root.grants} <= {path.stem for path in (home / "pinned").iterdir()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("--as", "ben"), "only ada, who sponsors robot, may sign", id="the deputy"),
        pytest.param(("--as", "operator"), "only ada, who sponsors robot, may sign", id="the operator"),
    ],
)
def test_nobody_but_the_sponsor_signs(home: Path, current: Path, words: tuple[str, ...], said: str) -> None:
    before = current.read_bytes()
    common = ("manifest", "sign", "--agent", "robot", "--cluster", READS, *PURPOSE, "--yes")
    ran = cli(*common, *words)
    assert (ran.code, said in ran.err, current.read_bytes()) == (1, True, before)
    cli(*common, "--as", "ada").ok()


def test_a_key_that_is_nobodys_or_not_at_hand_signs_nothing(home: Path, tmp_path: Path) -> None:
    save_key(tmp_path / "x.pem", identities.key("x"))
    common = ("manifest", "sign", "--agent", "robot", "--cluster", READS, *PURPOSE, "--yes")
    ran = cli(*common, "--key", tmp_path / "x.pem")
    assert (ran.code, "enrolled for nobody here" in ran.err) == (1, True)
    (home / "keys" / "ada.pem").rename(tmp_path / "ada.pem")
    ran = cli(*common)
    assert (ran.code, "has no key of ada" in ran.err) == (1, True)
    cli(*common, "--key", tmp_path / "ada.pem").ok()


def test_a_key_that_others_can_read_is_passed_over_and_that_is_said(home: Path) -> None:
    common = ("manifest", "sign", "--agent", "robot", "--cluster", READS, *PURPOSE, "--yes")
    (home / "keys" / "ada.pem").chmod(0o644)
    ran = cli(*common)
    assert (ran.code, "has no key of ada" in ran.err) == (1, True)
    assert f"chmod 600 '{home / 'keys' / 'ada.pem'}'" in ran.err
    (home / "keys" / "ada.pem").chmod(0o600)
    cli(*common).ok()


def test_a_lapsed_sponsor_cannot_sign(home: Path) -> None:
    people = home / "people.yaml"
    lines = people.read_text().splitlines(keepends=True)
    place = next(place for place, line in enumerate(lines) if "certified_until" in line)
    lines[place] = "    certified_until: 2024-01-01\n"
    people.write_text("".join(lines))
    cli("bundle", "sign").ok()
    ran = cli("manifest", "sign", "--agent", "robot", "--cluster", READS, *PURPOSE, "--yes")
    assert (ran.code, "ada was certified until" in ran.err) == (1, True)


def test_a_manifest_longer_than_permitted_is_not_signed(home: Path) -> None:
    common = ("manifest", "sign", "--agent", "robot", "--cluster", READS, *PURPOSE, "--yes", "--lifetime")
    ran = cli(*common, "91d")
    assert (ran.code, "lifetimes.root_max" in ran.err) == (1, True)
    cli(*common, "90d").ok()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param((), "name a draft", id="nothing"),
        pytest.param(("--agent", "robot"), "name a draft", id="no purpose"),
        pytest.param(("x.yaml", "--agent", "robot"), "leave them out", id="a draft and more"),
        pytest.param(("--agent", "robot", "--cluster", READS, *PURPOSE), "add --yes", id="nobody to ask"),
    ],
)
def test_signing_needs_to_know_what_and_to_ask(home: Path, words: tuple[str, ...], said: str) -> None:
    ran = cli("manifest", "sign", *words)
    assert (ran.code, said in ran.err) == (2, True)


def test_unsigned_files_are_refused_unless_that_is_said(home: Path) -> None:
    edit(home / "clusters.yaml", "risk: routine", "risk: routine # still")
    common = ("manifest", "sign", "--agent", "robot", "--cluster", READS, *PURPOSE, "--yes")
    ran = cli(*common)
    assert (ran.code, "was changed after version 1 was signed" in ran.err) == (1, True)
    cli(*common, "--dev").ok()


# --- renew -----------------------------------------------------------------------------------------------------------


def test_renewing_shows_how_the_clusters_changed_and_grants_nothing_new(home: Path, current: Path) -> None:
    (old,) = read_links(current)
    edit(
        home / "clusters.yaml",
        "          page: any\n",
        "          page: any\n      - name: extra\n        methods: [GET]\n        path: /v1/extra\n",
    )
    cli("bundle", "sign").ok()
    assert cli("manifest", "verify", current, "--json").ok().json["changed_clusters"] == [READS]
    ran = cli("manifest", "renew", "--agent", "robot", "--yes").ok()
    assert f"cluster {READS}: adds operation extra: GET /v1/extra without a query" in ran.out
    assert "The agent may: get-v1-invoices-id." in ran.out
    (new,) = read_links(current)
    assert (new.sub, new.purpose, new.cnf) == (old.sub, old.purpose, old.cnf)
    assert {grant.actions for grant in new.grants} == {grant.actions for grant in old.grants}
    assert cli("manifest", "verify", current, "--json").ok().json["changed_clusters"] == []


def test_renewing_drops_what_a_cluster_no_longer_has(home: Path, current: Path) -> None:
    edit(home / "clusters.yaml", "name: get-v1-invoices-id", "name: read-invoice")
    cli("bundle", "sign").ok()
    ran = cli("manifest", "renew", current, "--yes").ok()
    assert f"cluster {READS}: removes action get-v1-invoices-id" in ran.out
    assert read_links(current)[0].grants[0].actions == frozenset()
    assert cli("explain", "GET", "https://erp.example/v1/invoices/1", "--agent", "robot").code == 10


def test_what_nobody_signed_is_not_renewed_unread(home: Path, current: Path, tmp_path: Path) -> None:
    """A file that an agent hands in with its clusters wide open is no word of its sponsor, whose key would sign it."""
    (old,) = read_links(current)
    wide = replace(old.grants[0], constraints=Constraints(), actions=frozenset({"get-v1-invoices-id", "extra"}))
    draft = identities.draft(
        sub="robot", sponsor="ada", deployment=old.aud, cnf=old.cnf, grants=[wide], iat=old.iat, exp=old.exp
    )
    forged = tmp_path / "robot.jws"
    write_chain_file(forged, (issue_root(draft, key=identities.key("mallory")),))
    was = forged.read_text()
    ran = cli("manifest", "renew", forged, "--yes")
    assert ran.code != 0 and "does not count: ada has no enrolled key" in ran.err and "without --yes" not in ran.out
    assert forged.read_text() == was
    told = cli("manifest", "sign", *SIGN, "--out", forged, "--yes").ok().out  # what is shown is signed, not that file
    assert "does not count: ada has no enrolled key" in " ".join(told.split())
    assert "does not count" not in cli("manifest", "renew", "--agent", "robot", "--yes").ok().out


def test_what_was_revoked_is_not_renewed_unread(home: Path, current: Path) -> None:
    (old,) = read_links(current)
    cli("manifest", "renew", "--agent", "robot", "--yes").ok()
    (new,) = read_links(current)
    cli("manifest", "revoke", current, "--reason", "lost", "--as", "ada").ok()
    ran = cli("manifest", "renew", "--agent", "robot", "--yes")
    assert ran.code != 0 and "does not count: it is revoked" in ran.err
    assert read_links(current) == (new,) != (old,)


def test_renew_needs_one_manifest(home: Path, current: Path) -> None:
    assert cli("manifest", "renew", "--yes").code == 2
    assert cli("manifest", "renew", current, "--agent", "robot", "--yes").code == 2
    ran = cli("manifest", "renew", "--agent", "robto", "--yes")
    assert (ran.code, "there is no manifest" in ran.err) == (1, True)


# --- delegate, show, verify ------------------------------------------------------------------------------------------


def test_a_delegated_chain_is_narrower_shorter_and_valid(home: Path, current: Path, tmp_path: Path) -> None:
    helper = identities.key("helper").public
    (tmp_path / "helper.jwk").write_text(str(jwk(helper)).replace("'", '"'))
    common = ("manifest", "delegate", current, "--key", home / "keys" / "robot.pem", "--to", tmp_path / "helper.jwk")
    ran = cli(*common, "--cluster", READS, "--lifetime", "10m", "--purpose", "Look up one.").ok()
    root, child = ran.out.split()
    assert root == current.read_text().strip()
    link = parse_manifest(child)
    assert (link.cnf, link.sub, link.purpose, [grant.cluster for grant in link.grants]) == (
        helper,
        "robot",
        "Look up one.",
        [READS],
    )
    assert link.exp - link.iat == timedelta(minutes=10)
    chain = tmp_path / "chain.jws"
    cli(*common, "--action", "get-v1-invoices-id", "--out", chain).ok()
    verified = cli("manifest", "verify", chain, "--json").ok().json
    assert (verified["valid"], verified["acts"], verified["agent"]) == (True, True, "robot")
    assert "its key may act" in cli("manifest", "verify", chain).ok().out
    shown = cli("manifest", "show", chain).ok().out
    assert "Manifest for robot" in shown and "Delegation 1 for robot" in shown and "may not be handed on" in shown
    assert [each["depth"] for each in cli("manifest", "show", chain, "--json").ok().json] == [0, 1]


@pytest.mark.parametrize(
    ("key", "words", "said"),
    [
        pytest.param("robot", ("--cluster", "nothing"), "grants no cluster", id="a cluster it does not have"),
        pytest.param("robot", ("--action", "nothing"), "grants no operation", id="an action it does not have"),
        pytest.param("ada", (), "the manifest names", id="another key than it names"),
    ],
)
def test_what_would_widen_is_not_delegated(
    home: Path, current: Path, key: str, words: tuple[str, ...], said: str
) -> None:
    to = home / "keys" / "ben.pem"
    ran = cli("manifest", "delegate", current, "--key", home / "keys" / f"{key}.pem", "--to", to, *words)
    assert (ran.code, ran.out, said in ran.err) == (1, "", True)
    cli("manifest", "delegate", current, "--key", home / "keys" / "robot.pem", "--to", to).ok()


def test_a_delegation_to_an_agent_that_is_not_listed_does_not_verify(home: Path, current: Path) -> None:
    chain, keys = home / "chain.jws", home / "keys"
    common = ("manifest", "delegate", current, "--key", keys / "robot.pem", "--to", keys / "ben.pem", "--out", chain)
    cli(*common, "--agent", "stranger").ok()
    ran = cli("manifest", "verify", chain)
    assert (ran.code, "refused (agent.unknown)" in ran.out) == (1, True)
    cli(*common).ok()
    cli("manifest", "verify", chain).ok()


def test_show_says_everything_in_words(home: Path, current: Path) -> None:
    ran = cli("manifest", "show", current).ok()
    for line in (
        "purpose         Match invoices.",
        "delegation      may be handed on once",
        f"Cluster {WRITES}",
        "Its risk is transformative",
        "Only at: https://erp.example.",
    ):
        assert line in ran.out


def test_verify_says_why_not(home: Path, current: Path) -> None:
    token = current.read_text().strip()
    head, payload, signature = token.split(".")
    flipped = signature[:-2] + ("A" if signature[-2] != "A" else "B") + signature[-1]
    current.write_text(f"{head}.{payload}.{flipped}")
    ran = cli("manifest", "verify", current)
    assert (ran.code, "refused (manifest." in ran.out) == (1, True)
    assert cli("manifest", "verify", current, "--json").json["valid"] is False
    current.write_text(token)
    ran = cli("manifest", "verify", current).ok()
    assert "its key hands it on to short-lived credentials, which act" in ran.out


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x1b[2J", id="an escape"),
        pytest.param("é".encode(), id="not ASCII"),
        pytest.param(b"eyJ.x.y", id="no manifest"),
    ],
)
def test_what_is_no_manifest_is_refused_harmlessly(home: Path, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.jws").write_bytes(text)
    for command in ("show", "verify"):
        ran = cli("manifest", command, tmp_path / "x.jws")
        assert ran.code == 1 and "\x1b" not in ran.out + ran.err
