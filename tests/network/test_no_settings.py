"""An agent with no proxy settings at all, behind the real rules: its calls work, are held and released, and stream.

And when the proxy is killed there is no network until it is back, not an open one.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cordons import BAD, BELL, Cordon, cordon
from nodes import kill_node, wait_for
from origins import Gate, Reply

from proxy.core.model import Verdict

pytestmark = pytest.mark.system

URL = "https://erp.example"
NODE = """
const {protocol} = new URL(process.argv[1]);
require(protocol.slice(0, -1)).request(process.argv[1], {method: process.argv[2]}, (answer) => {
  let text = "";
  answer.on("data", (more) => (text += more));
  answer.on("end", () => console.log(answer.statusCode, text));
}).end();
"""
PYTHON = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], method=sys.argv[2]))
except urllib.error.HTTPError as refused:
    answer = refused
print(answer.status, answer.read().decode())
"""
PROGRAMS = {
    "curl": ("curl", "-s", "-m", "20", "-w", "%{stderr}%{http_code} "),
    "Python": (sys.executable, "-c", PYTHON),
    "Node": ("node", "-e", NODE),
}


@pytest.fixture(scope="module", params=["gateway", "sidecar"])
def place(request: pytest.FixtureRequest) -> Iterator[Cordon]:
    with cordon(request.param) as it:
        it.register("supplier-invoices")
        yield it


def ask(place: Cordon, program: str, method: str, url: str) -> tuple[int, str]:
    """The status and the body that a program gets, which knows of no proxy."""
    words = PROGRAMS[program]
    if program == "curl":
        done = place.run(*words, "--cacert", str(place.ca), "-X", method, url)
        return int(done.stderr), done.stdout
    done = place.run(*words, url, method)
    assert done.stdout, done.stderr
    status, _, text = done.stdout.partition(" ")
    return int(status), text


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_allowed_call_works_and_its_line_names_agent_and_sponsor(place: Cordon, program: str) -> None:
    before = place.tls.mark()
    assert ask(place, program, "GET", f"{URL}/v1/invoices/7")[0] == 200
    assert [each.target for each in place.tls.since(before).requests] == ["/v1/invoices/7"]
    line = place.house.journal("decision")[-1]
    assert (line["agent"], line["sponsor"], line["proof"]) == ("invoice-bot", "ada", "source")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_held_call_is_released_and_passes_once(place: Cordon, program: str) -> None:
    path, before = f"/v1/payments/{program}", place.tls.mark()
    status, text = ask(place, program, "POST", URL + path)
    told = json.loads(text)
    assert (status, told["code"]) == (403, "mandate.not_covered"), told
    hold = told["task"]["id"]
    assert place.tls.since(before).nothing
    own = f"http://intent.internal/holds/{hold}"
    assert json.loads(ask(place, program, "GET", own)[1])["status"] == "held"
    place.house.decide(hold, Verdict.ALLOW)
    assert json.loads(ask(place, program, "GET", own)[1])["status"] == "approved"
    if program == "Node":
        assert ask(place, program, "POST", f"{own}/redeem")[0] == 200
    else:
        assert ask(place, program, "POST", URL + path)[0] == 200
    assert ask(place, program, "POST", URL + path)[0] == 403
    assert [each.target for each in place.tls.since(before).requests] == [path]


def test_events_stream(place: Cordon) -> None:
    gate = Gate()
    parts = (b"data: first\n\n", gate, b"data: second\n\n")
    place.tls.on("GET", "/v1/invoices/events", Reply(headers=[("Content-Type", "text/event-stream")], stream=parts))
    words = place.lived_in("curl", "-s", "-N", "-m", "30", "--cacert", str(place.ca), f"{URL}/v1/invoices/events")
    process = place.agent.inside(lambda: subprocess.Popen(words, stdout=subprocess.PIPE))
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"data: first\n"
        gate.open()
        assert process.stdout.read() == b"\ndata: second\n\n"


def test_killing_the_proxy_leaves_no_network_and_a_restart_brings_it_back(place: Cordon) -> None:
    address = place.python("print(socket.gethostbyname('erp.example'))")
    assert address.startswith(("198.18.", "198.19."))
    kill_node(place.house)
    with place.evil.watch() as seen:
        before = place.tls.mark()
        assert place.curl(f"{URL}/v1/invoices/7") == "000"
        assert place.curl(f"{URL}/v1/invoices/7", "--resolve", f"erp.example:443:{address}") == "000"
        assert place.curl(f"{URL}/v1/invoices/7", "--resolve", "erp.example:443:10.77.2.2") == "000"
        assert place.curl(f"https://{BAD[4]}/", "-k") == "000"
        assert place.curl(f"https://[{BAD[6]}]/", "-k") == "000"
        place.ring()
        assert seen.until(BELL) == []
        assert place.tls.since(before).nothing
    place.start()
    wait_for(lambda: place.curl(f"{URL}/v1/invoices/7", "--resolve", f"erp.example:443:{address}") == "200", "service")
    assert ask(place, "curl", "GET", f"{URL}/v1/invoices/8")[0] == 200
