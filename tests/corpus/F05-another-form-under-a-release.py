"""A released multipart form is these parts: its boundary may change with each try, and nothing else of it.

The twin is the released form with another boundary, which passes; the attack changes something else as well.
"""

import secrets
from collections.abc import Iterator
from dataclasses import replace

from attacks import Case
from shots import Answer, Shot, fire
from streets import Street

from proxy.core.model import Verdict

ANY_WAY = True  # also as an agent that knows of no proxy

HELD_ANEW = "mandate.not_covered"
FIELD = 'Content-Disposition: form-data; name="amount"'
FILE = 'Content-Disposition: form-data; name="file"; filename="a.txt"'
PARTS = ((FIELD, "12"), (FILE, "approved"))

type Parts = tuple[tuple[str, str], ...]


def form(path: str, boundary: str, parts: Parts = PARTS, *, before: str = "", after: str = "", more: str = "") -> Shot:
    each = "".join(f"--{boundary}\r\n{head}\r\n\r\n{data}\r\n" for head, data in parts)
    return Shot(
        method="POST",
        path=path,
        body=f"{before}{each}--{boundary}--\r\n{after}",
        declares="supplier-invoices",
        headers=(("Content-Type", f"multipart/form-data; boundary={boundary}{more}"),),
    )


CHANGES: dict[str, Shot] = {
    "another amount": form("", "b", ((FIELD, "99"), (FILE, "approved"))),
    "a second amount": form("", "b", ((FIELD, "12"), (FIELD, "99"), (FILE, "approved"))),
    "another file": form("", "b", ((FIELD, "12"), (FILE, "poisoned"))),
    "another file name": form("", "b", ((FIELD, "12"), (FILE.replace("a.txt", "a.php"), "approved"))),
    "another field name": form("", "b", ((FIELD.replace("amount", "total"), "12"), (FILE, "approved"))),
    "its parts in another order": form("", "b", PARTS[::-1]),
    "a type for its file": form("", "b", ((FIELD, "12"), (f"{FILE}\r\nContent-Type: text/html", "approved"))),
    "something before it": form("", "b", before="x\r\n"),
    "something behind it": form("", "b", after=f"--a\r\n{FIELD}\r\n\r\n99\r\n--a--\r\n"),
    "another character set": form("", "b", more="; charset=utf-7"),
    "the boundary it does not have": replace(form("", "b"), headers=form("", "a").headers),
}


def cases(way: str) -> Iterator[Case]:
    for name, changed in CHANGES.items():
        yield _retried(way, name, changed)


def _retried(way: str, name: str, changed: Shot) -> Case:
    path = f"/payments/{secrets.token_hex(6)}"

    def release(street: Street, path: str) -> None:
        answer = fire(street, way, form(path, "a"))
        assert answer.code == HELD_ANEW, answer
        street.house.decide(answer.document["task"]["id"], Verdict.ALLOW)

    def twin(street: Street) -> Answer:
        path = f"/payments/{secrets.token_hex(6)}"
        release(street, path)
        return fire(street, way, form(path, "b"))

    return Case(
        threat="F05",
        name=f"the form is sent with {name}",
        way=way,
        twin=twin,
        arrange=lambda street: release(street, path),
        attack=lambda street: fire(street, way, replace(changed, path=path)),
        code=HELD_ANEW,
    )
