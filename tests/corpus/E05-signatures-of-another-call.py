"""A signature that is good for one call, put on another: another method, URL, port, field or tunnel."""

from collections.abc import Iterator

from attacks import Case, against
from shots import Shot

ANY_WAY = True  # also as an agent that knows of no proxy

SIGNATURE = "proof.signature"
READ = Shot(path="/v1/invoices/17", declares="supplier-invoices", headers=(("Accept", "*/*"),))
WRITE = Shot(
    method="POST", path="/v1/invoices", body="a=1", headers=(("Content-Type", "text/plain"), ("Cookie", "a=1"))
)
CHANGES = {
    "the method": (READ, {"method": "PUT"}, SIGNATURE),
    "the method for one with more power": (READ, {"method": "DELETE"}, SIGNATURE),
    "the method for another spelling of it": (READ, {"method": "get"}, "request.malformed"),
    "the path": (READ, {"path": "/v1/invoices/18"}, SIGNATURE),
    "the path for another spelling of it": (READ, {"path": "/v1/invoices/%31%37"}, SIGNATURE),
    "the path by a slash": (READ, {"path": "/v1/invoices/17/"}, SIGNATURE),
    "the query": (READ, {"path": "/v1/invoices/17?status=open"}, SIGNATURE),
    "the query by an empty one": (READ, {"path": "/v1/invoices/17?"}, SIGNATURE),
    "the host": (READ, {"authority": "open.partner.example:{port}"}, SIGNATURE),
    "the host for another spelling of it": (READ, {"authority": "ERP.example:{port}"}, SIGNATURE),
    "the host for its name with a dot": (READ, {"authority": "erp.example.:{port}"}, SIGNATURE),
    "the port": (READ, {"authority": "erp.example:22"}, SIGNATURE),
    "the port for another spelling of it": (READ, {"authority": "erp.example:0{port}"}, SIGNATURE),
    "the content type": (WRITE, {"headers": (("Content-Type", "text/html"), ("Cookie", "a=1"))}, SIGNATURE),
    "the cookie": (WRITE, {"headers": (("Content-Type", "text/plain"), ("Cookie", "a=2"))}, SIGNATURE),
}


def cases(way: str) -> Iterator[Case]:
    for name, (base, changes, code) in CHANGES.items():
        yield _moved(way, name, base, changes, code)
    for name, added in (
        ("an authorization", ("Authorization", "Bearer x")),
        ("a cookie", ("Cookie", "a=1")),
        ("an idempotency key", ("Idempotency-Key", "1")),
        ("a preference", ("Prefer", "wait=60")),
        ("a content type", ("Content-Type", "text/plain")),
    ):
        changes = {"headers": (*READ.headers, added)}
        yield _moved(way, f"the call by adding {name}", READ, changes, "proof.components")
    for name, edit, code in (
        ("the declared cluster", ('cluster="supplier', 'cluster="partner'), SIGNATURE),
        ("the declared task", ('task="T-4711"', 'task="T-4712"'), SIGNATURE),
        ("the declared step", ("step=3", "step=4"), SIGNATURE),
        ("the call by leaving out the declaration", ("agent-intent: ", "x-agent-intent: "), "proof.components"),
    ):
        yield against("E05", f"it changes {name}", way, READ, {"edits": (edit,)}, code=code)
    if way == "tls":
        yield from _tunnels()
    else:
        scheme = {"scheme": "https", "signs": READ}
        yield against("E05", "it changes the scheme", way, READ, scheme, code=SIGNATURE)


def _moved(way: str, name: str, base: Shot, changes: dict[str, object], code: str) -> Case:
    return against("E05", f"it changes {name}", way, base, {**changes, "signs": base}, code=code)


def _tunnels() -> Iterator[Case]:
    tunnel = Shot(proof="tunnel", declares="supplier-invoices")
    for name, changes in (
        ("another host", {"authority": "open.partner.example:{port}"}),
        ("another port", {"authority": "erp.example:22"}),
    ):
        changes = {**changes, "signs": tunnel}
        yield against("E05", f"its CONNECT is signed for {name}", "tls", tunnel, changes, code=SIGNATURE)
    declared = {"headers": (("Agent-Intent", 'cluster="partner-services"'),)}
    code = "intent.conflict"
    yield against("E05", "inside a signed tunnel another intent is declared", "tls", tunnel, declared, code=code)
    shown = {"headers": (("Intent-Manifest", "eyJ.eyJ.AAAA"),)}
    code = "manifest.malformed"
    yield against("E05", "inside a signed tunnel another manifest is shown", "tls", tunnel, shown, code=code)
