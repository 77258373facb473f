"""A large document takes long to read; calls of others do not wait for it."""

import json
import threading
from pathlib import Path

from houses import CLUSTERS
from rawclient import Response, request_bytes
from towns import open_town

RULED = """\
      - name: annotate
        methods: [POST]
        path: /v1/notes
        body: {{json: {{fields: {{/payee: [88]}}}}}}
"""

DOCUMENT = json.dumps({"payee": 88, "names": {f"é{number}" * 3: number for number in range(90_000)}}).encode()
"""Close to what may be examined and to how many members it may have; its names are not plain, which takes longest."""


def test_others_are_answered_while_a_large_document_is_read(tmp_path: Path) -> None:
    with open_town(tmp_path, workers=1, clusters=CLUSTERS + RULED) as town:
        url, chain = town.url("plain", "/v1/notes"), town.house.chain()
        answers: list[Response] = []
        lines = town.house.signed(
            "POST", url, chain=chain, headers=[("Content-Type", "application/json")], body=DOCUMENT
        )
        with town.house.open(url, timeout_s=20) as wire:
            request = request_bytes("POST", url, (("Host", url.split("/")[2]), *lines), DOCUMENT)
            wire.send(request[:-1])
            begun = threading.Thread(target=lambda: answers.append(wire.response(to="POST")))
            wire.send(request[-1:])
            begun.start()
            others = 0
            while begun.is_alive():
                assert town.house.call("GET", town.url("plain", "/v1/invoices/17")).status == 200
                others += begun.is_alive()
        assert others > 3
        (answer,) = answers
        assert answer.status == 200, answer
        assert [request.body for request in town.plain.requests if request.method == "POST"] == [DOCUMENT]
