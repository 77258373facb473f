"""Hostile calls in a real browser: nothing of them runs, asks for anything, or moves what people press (THREATS F03).

Every text of `payloads` is in some field of some call here, and every field has many. All of them in all fields are
rendered without a browser in `test_hostile.py`.
"""

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import hostile
import pytest
from identities import SPONSOR

pytest.importorskip("playwright")

from hostile import HostileRoom
from payloads import ALL, BROKEN
from playwright.sync_api import Browser, Dialog, Page, Request, expect
from roomservers import CHROMIUM, ServedRoom, chromium, served, signed_in

from proxy.core.visible import visible

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium"),
]

REBOUND = "rebound.example"
SURROGATES = re.compile("[\ud800-\udfff]")
TEXTS = tuple(SURROGATES.sub("?", text) for text in ALL)
PER_CALL = len(hostile.FIELDS)
CALLS = tuple(
    dict(zip(hostile.FIELDS[turn:] + hostile.FIELDS[:turn], TEXTS[start : start + PER_CALL], strict=False))
    for turn, start in enumerate(range(0, len(TEXTS), PER_CALL))
)
USUAL: dict[str, object] = {"ttl_s": 3600, "headers": ()}
WIDTHS = {1280: 900, 390: 844}
MEASURED = """() => {
    const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    const boxes = [...document.querySelectorAll("main *, header *, footer *")].filter(each => {
        const box = each.getBoundingClientRect();
        if (box.width === 0 || each.closest("pre, .wide-table")) return false;
        return box.right > document.documentElement.clientWidth + 1 || box.left < -1;
    });
    const covered = [...document.querySelectorAll("button")].filter(each => {
        if (!each.checkVisibility()) return false;
        each.scrollIntoView({block: "center"});
        const box = each.getBoundingClientRect();
        const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
        return top === null || !(each.contains(top) || top.contains(each));
    });
    return {
        wide,
        boxes: boxes.map(each => each.tagName + "." + each.className),
        covered: covered.map(each => each.textContent),
        buttons: [...document.querySelectorAll("button")].filter(each => each.checkVisibility())
            .map(each => each.textContent.trim()),
        odd: document.querySelectorAll("main script, main style, main img, main svg, main iframe, main object").length,
        text: document.body.textContent,
        place: document.querySelector("#decide")?.getBoundingClientRect().left ?? null,
        width: document.querySelector("#decide")?.getBoundingClientRect().width ?? null,
    };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1") as found:
        yield found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[ServedRoom]:
    with served(tmp_path, HostileRoom) as found:
        yield found


class Watch:
    """Everything that a page did which it was not told to."""

    def __init__(self, page: Page, origin: str) -> None:
        self.faults: list[str] = []
        self._origin = origin
        page.on("pageerror", lambda fault: self.faults.append(f"error: {fault}"))
        page.on("console", lambda line: self.faults.append(line.text) if line.type in ("error", "warning") else None)
        page.on("dialog", self._dialog)
        page.on("request", self._asked)
        page.on("download", lambda _: self.faults.append("a download"))
        page.on("popup", lambda _: self.faults.append("another window"))
        page.on("framenavigated", lambda frame: self._there(frame.url))

    def _dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(f"{self._origin}/"):
            self.faults.append(f"asked for {request.url}")

    def _there(self, url: str) -> None:
        if not url.startswith(f"{self._origin}/"):
            self.faults.append(f"went to {url}")


def room_of(desk: ServedRoom) -> HostileRoom:
    assert isinstance(desk.room, HostileRoom)
    return desk.room


def test_every_text_is_in_some_field_and_every_field_has_many() -> None:
    placed = [text for call in CALLS for text in call.values()]
    assert set(placed) == set(TEXTS) and len(set(TEXTS)) > 200
    assert min(sum(name in call for call in CALLS) for name in hostile.FIELDS) > 10


@pytest.mark.parametrize("width", WIDTHS, ids=["desktop", "phone"])
def test_hostile_calls_run_nothing_ask_for_nothing_and_move_nothing(
    desk: ServedRoom, browser: Browser, width: int
) -> None:
    room = room_of(desk)
    innocent = desk.do(room.hostile({}, body=b"x", **USUAL))
    bodies = ["\n".join(TEXTS[number :: len(CALLS)]).encode() for number in range(len(CALLS))]
    holds = [
        desk.do(room.hostile({**texts, "task": f"T{number}"}, body=body, **USUAL))
        for number, (texts, body) in enumerate(zip(CALLS, bodies, strict=True))
    ]
    broken = enumerate(BROKEN)
    holds += [desk.do(room.hostile({"task": f"B{number}"}, body=body, **USUAL)) for number, body in broken]
    context = browser.new_context(viewport={"width": width, "height": WIDTHS[width]})
    page = signed_in(context, desk, SPONSOR)
    watch = Watch(page, desk.origin)
    page.goto(f"{desk.origin}/holds/{innocent.id}")
    plain = page.evaluate(MEASURED)
    assert plain["covered"] == plain["boxes"] == [] and plain["wide"] <= 0  # the twin
    for number, hold in enumerate(holds):
        room.said = TEXTS[number * 7 % len(TEXTS)]
        page.goto(f"{desk.origin}/holds/{hold.id}")
        found = page.evaluate(MEASURED)
        where = f"call {number}: {CALLS[number] if number < len(CALLS) else BROKEN[number - len(CALLS)]!r}"
        assert found["wide"] <= 0 and found["boxes"] == [] and found["covered"] == [], (where, found["boxes"])
        assert found["odd"] == 0, where
        assert set(found["buttons"]) >= set(plain["buttons"]), where
        assert (found["place"], found["width"]) == (plain["place"], plain["width"]), where
        shown = " ".join(found["text"].split())
        for text in CALLS[number].values() if number < len(CALLS) else ():
            if "task" not in CALLS[number] or text != CALLS[number]["task"]:
                assert " ".join(visible(text).split())[:300] in shown, f"{where}: {text!r} cannot be read"
        assert watch.faults == [], where
    for name in ("</h1><script>alert(1)</script>" + "W" * 150, "\u202e" * 30 + "e\u0301" * 100):
        room.named(name)
        room.said = name
        for path in ("/queue", f"/queue?search={'<b>' * 50}", f"/holds/{holds[0].id}/propose", "/history", "/help"):
            page.goto(f"{desk.origin}{path}")
            found = page.evaluate(MEASURED)
            assert found["wide"] <= 0 and found["odd"] == 0 and found["covered"] == [], (path, found["boxes"])
        page.goto(f"{desk.origin}/holds/{holds[0].id}")
        assert page.evaluate(MEASURED)["wide"] <= 0
    page.goto(f"{desk.origin}/holds/{holds[0].id}")
    page.get_by_label("Deny, because").fill("<img src=x onerror=alert(1)>" + "W" * 400)
    page.get_by_role("button", name="Deny", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("denied by")
    for path in ("/history", f"/holds/{holds[0].id}"):
        page.goto(f"{desk.origin}{path}")
        assert page.evaluate(MEASURED)["wide"] <= 0
    assert watch.faults == []
    context.close()


# --- other sites, in a browser that is signed in ---------------------------------------------------------------------


class Evil(ThreadingHTTPServer):
    """A page of somebody else's, on another port of this machine: the same site, as browsers see it."""

    page = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EvilPages)
        self.origin = f"http://localhost:{self.server_port}"
        self.thread = Thread(target=self.serve_forever, daemon=True)

    def __enter__(self) -> "Evil":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.thread.join(10)
        super().server_close()


class EvilPages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Evil)
        body = self.server.page if self.path == "/" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is said."""


def test_no_page_of_somebody_elses_frames_the_desk(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.do(room_of(desk).hostile({}, ttl_s=3600))
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    expect(page.get_by_role("button", name="Release once")).to_be_visible()  # the twin
    read = len(room_of(desk).journal.lines)
    with Evil() as evil:
        inner = f"{desk.origin}/holds/{hold.id}"
        evil.page = f"""<!doctype html><iframe id=a src="{inner}" style="opacity:0.01"></iframe>
            <object id=b data="{inner}"></object><embed id=c src="{inner}">
            <iframe id=d sandbox="allow-scripts allow-forms allow-same-origin" src="{inner}"></iframe>""".encode()
        other = context.new_page()
        other.goto(evil.origin)
        other.wait_for_load_state("networkidle")
        assert len(other.frames) > 1
        for frame in other.frames[1:]:
            assert frame.locator("button").count() == 0
            assert hold.id not in (frame.locator("body").text_content() or "")
    assert desk.state(hold) == "held" and len(room_of(desk).journal.lines) == read
    context.close()


def test_no_form_script_or_picture_of_somebody_elses_says_anything(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.do(room_of(desk).hostile({}, ttl_s=3600))
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    token = page.locator("input[name=form_token]").first.get_attribute("value")
    with Evil() as evil:
        there = f"{desk.origin}/holds/{hold.id}"
        evil.page = f"""<!doctype html><body><form id=f method=post action="{there}/release">
            <input name=form_token value="{token}"><input name=digest value="{hold.call_digest}"></form>
            <img src="{there}/release"><script src="{there}"></script>
            <link rel=stylesheet href="{there}/body"></body>""".encode()
        other = context.new_page()
        other.goto(evil.origin)
        told = other.evaluate(
            """async ([there, token, digest]) => {
                const body = new URLSearchParams({form_token: token, digest});
                const said = [];
                for (const options of [
                    {method: "POST", body, mode: "no-cors", credentials: "include"},
                    {method: "POST", body, mode: "cors", credentials: "include"},
                    {method: "GET", mode: "cors", credentials: "include"},
                ]) {
                    try {
                        const answer = await fetch(options.method === "GET" ? there : there + "/release", options);
                        said.push(answer.type + " " + (await answer.text()).length);
                    } catch (fault) { said.push("refused"); }
                }
                const opened = window.open(there);
                await new Promise(done => setTimeout(done, 0));
                try { said.push(opened && opened.document ? "read" : "closed"); } catch { said.push("refused"); }
                return said;
            }""",
            [there, token, hold.call_digest],
        )
        assert told[0] in ("opaque 0", "refused") and told[1:3] == ["refused", "refused"]
        with other.expect_navigation():
            other.evaluate("document.getElementById('f').submit()")
        assert "did not come from this desk" in (other.text_content("body") or "")
        assert desk.state(hold) == "held"
    page.get_by_role("button", name="Release once").click()  # the twin
    expect(page.get_by_role("heading", level=1)).to_contain_text("released by")
    assert desk.state(hold) == "approved"
    context.close()


def test_another_name_for_the_desks_address_shows_nothing(desk: ServedRoom, browser: Browser) -> None:
    """DNS rebinding: a name of the attacker's leads to the desk, in a browser that is signed in there."""
    hold = desk.do(room_of(desk).hostile({}, ttl_s=3600))
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    expect(page.get_by_role("button", name="Release once")).to_be_visible()  # the twin
    answer = page.goto(f"http://{REBOUND}:{desk.origin.rpartition(':')[2]}/holds/{hold.id}")
    assert answer is not None and answer.status == 421
    assert hold.id not in (page.text_content("body") or "")
    status = page.evaluate(
        "async path => (await fetch(path, {method: 'POST', body: new URLSearchParams({a: 'b'})})).status",
        f"/holds/{hold.id}/release",
    )
    assert status == 421 and desk.state(hold) == "held"
    assert page.evaluate("document.cookie") == ""
    context.close()


def test_no_script_of_the_desk_sees_the_cookie(desk: ServedRoom, browser: Browser) -> None:
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/help")
    (cookie,) = [each for each in context.cookies() if str(each.get("name", "")).startswith("intent-desk")]
    assert cookie.get("httpOnly") and cookie.get("sameSite") == "Strict"
    kept = page.evaluate(
        """() => [document.cookie, JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage}),
            location.href, document.documentElement.outerHTML].join("\\n")"""
    )
    assert str(cookie.get("value")) not in kept
    assert "Sign out" in kept  # the twin
    context.close()
