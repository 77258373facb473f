"""A new manifest from end to end: an author proposes it, its sponsor signs it in a real browser with a passkey, and the
agent's call passes a real node under it."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import identities
import pytest
from identities import AGENT, DEPUTY, SPONSOR, key

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from authenticators import ORIGIN, authenticator
from axe_playwright_python.sync_playwright import Axe
from certs import Authority
from clirun import cli, free_port, running
from houses import CLUSTERS, House, house
from origins import Origin
from passkeyrooms import plug_in
from playwright.sync_api import Browser, expect
from roomservers import CHROMIUM, chromium, shoot
from towns import ROOMY

from proxy.agent.keyfile import save_key
from proxy.cli.deployment import now
from proxy.core.manifest import issue_child, parse_manifest
from proxy.policy.bundle import load_bundle, sign_bundle
from proxy.policy.chains import read_chain_file
from proxy.stores.files import private_dir

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def resigned(built: House) -> None:
    sign_bundle(built.settings, key("operator"), now=now())
    built.bundle = load_bundle(built.settings, dev=False, floor=0)


def under(built: House) -> tuple[str, str]:
    """The manifest the sponsor signed, and a credential that the agent issues itself below it."""
    (root,) = read_chain_file(built.folder / "manifests" / f"{AGENT}.jws")
    leaf = issue_child(
        parse_manifest(root),
        key=key(AGENT),
        cnf=identities.leaf_key().public,
        jti=secrets.token_hex(8),
        now=now().replace(microsecond=0),
        lifetime_s=600,
    )
    return root, leaf


def test_a_proposed_manifest_is_signed_by_passkey_and_a_call_passes_under_it(tmp_path: Path, browser: Browser) -> None:
    port, authority = free_port(), Authority()
    desk = f"http://localhost:{port}"
    with Origin() as plain, Origin(tls=authority.server("erp.example")) as tls:
        extra = f"{ROOMY}desk: {{listen: '127.0.0.1:{port}'}}\nupstream_cas: [{authority.write(tmp_path)}]\n"
        text = CLUSTERS.format(http=plain.port, https=tls.port)
        with house(tmp_path, clusters=text, extra=extra, start=False) as built:
            people = tmp_path / "people.yaml"
            people.write_text(people.read_text().replace(ORIGIN, desk))
            resigned(built)
            save_key(private_dir(built.settings.state) / "desk.key", key("desk"))
            author = tmp_path / "author.pem"
            save_key(author, key(DEPUTY))
            built.start()
            with running("desk", "-c", tmp_path) as (_, line):
                assert "review desk ready" in line
                cluster = next(iter(built.bundle.clusters))
                draft = tmp_path / "draft.yaml"
                drafting = ("--agent", AGENT, "--cluster", cluster, "--purpose", "Match invoices.", "--out", draft)
                cli("manifest", "draft", "-c", tmp_path, *drafting).ok()
                proposing = ("--why", "month-end", "--as", DEPUTY, "--key", author, "--json")
                with ThreadPoolExecutor(1) as beside:  # this thread's loop is the browser's
                    said = beside.submit(cli, "manifest", "propose", "-c", tmp_path, draft, *proposing).result().ok()
                proposal = str(said.json["id"])
                context = browser.new_context()
                page = context.new_page()
                link = cli("desk", "-c", tmp_path, "--link", "--as", SPONSOR, "--json").ok().json
                page.goto(str(link["url"]))
                plug_in(page, SPONSOR)
                page.get_by_role("button", name="Continue as").click()
                page.get_by_role("link", name="Manifests").click()
                expect(page.locator(".rows")).to_contain_text("month-end")
                shoot(page, "manifests")
                violations = Axe().run(page).response["violations"]
                page.locator(".row-main").first.click()
                shoot(page, "manifest-proposal")
                violations += Axe().run(page).response["violations"]
                assert page.url.endswith(f"/proposals/{proposal}")
                page.get_by_role("button", name="Sign with a passkey").click()
                shoot(page, "manifest-sign")
                violations += Axe().run(page).response["violations"]
                assert not (tmp_path / "manifests" / f"{AGENT}.jws").exists(), "nothing is signed by looking"
                page.get_by_role("button", name="Sign this manifest with your passkey").click()
                expect(page.get_by_role("heading", level=1)).to_have_text(f"The manifest of {AGENT} is signed.")
                assert violations == [], [(each["id"], each["nodes"][0]["html"]) for each in violations]
                context.close()

                chain, before = under(built), plain.mark()
                assert parse_manifest(chain[0]).passkey == authenticator(SPONSOR).id
                url = plain.url(f"/v1/invoices/{secrets.token_hex(4)}", host="erp.example")
                answer = built.call("GET", url, chain=chain)
                assert answer.status == 200, answer
                (seen,) = plain.since(before).requests
                assert seen.method == "GET"
