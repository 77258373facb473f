"""The JSON Schemas for editors: up to date, valid, and never stricter than the loaders."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import jsonschema_rs
import pytest
from identities import key

from proxy.core.keys import ES256, jwk
from proxy.policy.agents import read_agents
from proxy.policy.clusters import Rules
from proxy.policy.faults import Faults
from proxy.policy.people import Enrolled, read_people
from proxy.policy.schemas import Schema, rendered, schemas, write_schemas
from proxy.policy.settings import read_settings
from proxy.policy.yaml import load, plain

CONFIG = Path(__file__).parents[2] / "config"
FILES = ("proxy", "clusters", "agents", "people")


def schema(name: str) -> Schema:
    return schemas()[f"{name}.schema.json"]


def loader_refuses(name: str, data: bytes) -> bool:
    faults = Faults(f"{name}.yaml")
    if name == "proxy":
        read_settings(data, faults, file=Path("/srv/proxy.yaml"))
        return bool(len(faults))
    root = load(data, faults)
    if root is not None:
        match name:
            case "clusters":
                Rules(people=None).read(root, faults)
            case "agents":
                read_agents(root, faults, Enrolled([]), people=None)
            case _:
                read_people(root, faults, Enrolled([]))
    return bool(len(faults))


VALIDATORS = {name: jsonschema_rs.Draft202012Validator(schema(name)) for name in FILES}


def schema_refuses(name: str, document: object) -> bool:
    return not VALIDATORS[name].is_valid(document)


DOCUMENT: dict[str, object] = {
    "fields": {
        "/a": "any",
        "/b": ["x", 1, True, None],
        "/c": {"one_of": ["x"], "required": True},
        "/d": {"least": -1, "most": 5},
        "/e": {"max_chars": 5},
        "/f": {"max_items": 5},
    },
    "only": True,
    "schema": {"type": "object"},
}
FORM: dict[str, object] = {"a": "any", "b": ["x", ""], "c": {"one_of": ["x"], "required": True}}
BODIES: dict[str, dict[str, object]] = {
    "json": {"json": DOCUMENT},
    "form": {"form": {"fields": FORM, "any": True}},
    "multipart": {
        "multipart": {
            "fields": FORM,
            "files": {"x": "any", "y": {"types": ["image/png"], "max_size": "5MiB", "required": True}},
            "any": False,
        }
    },
    "graphql": {"graphql": {"kinds": ["query", "mutation"], "fields": ["viewer"], "names": ["Who"]}},
    "mcp": {"mcp": {"methods": ["initialize", "tools/call"], "tools": {"find": "any", "file": DOCUMENT}}},
    "llm": {
        "llm": {"shape": "openai-chat", "models": ["small", "big-*"], "tools": "any", "max_tokens": 9, "stream": False}
    },
}

WAYS: dict[str, object] = {"as": "bearer", "header": "X-Api-Key", "query": "key", "basic": {"user": "svc"}}

WHOLE: dict[str, dict[str, object]] = {
    "proxy": {
        "version": 1,
        "deployment": "edge",
        "listen": "[::1]:8080",
        "workers": 2,
        "challenge_connect": False,
        "state": "state",
        "clusters": ["clusters", "more.yaml"],
        "agents": "agents.yaml",
        "people": "people.yaml",
        "bundle": "bundle.jws",
        "pinned": "pinned",
        "operators": [jwk(key("operator").public), jwk(key("second", ES256).public)],
        "redis_url": "redis://localhost:6379/0",
        "redis_fast_url": "redis+cluster://a.example,b.example",
        "redis_replicas": 1,
        "secret_file": "/run/secrets/intent-proxy",
        "upstream_cas": ["ca.pem"],
        "secrets": {
            "erp": {"file": "/run/secrets/erp"},
            "crm": {"environment": "CRM_TOKEN"},
            "hr": {"command": ["vault", "read"], "every": "5m", "inherits": ["HOME"]},
        },
        "lifetimes": {"root_max": "30d", "leaf_max": "15m", "sponsor_grace": "7d"},
        "limits": {
            "headers": "64KiB",
            "header_count": 100,
            "target": "8KiB",
            "inspected": "64KiB",
            "body": "1MiB",
            "unproven_body": "4KiB",
        },
        "bodies": {"memory": "1GiB", "memory_per_mandate": "1MiB", "spool": "9GiB", "spool_per_mandate": "1GiB"},
        "holds": {
            "max_ttl": "1h",
            "max_wait": "30s",
            "open_per_mandate": 1,
            "open_per_sponsor": 2,
            "per_hour": 3,
            "bytes": "1MiB",
            "response_bytes": "1KiB",
            "response_ttl": "1h",
        },
        "journal": {"sink": "sink.jsonl"},
        "transparent": {
            "listen": ["0.0.0.0:8444", "[::1]:8444"],
            "generation": "0f8e1c1e-pod",
            "dns": {"listen": ["127.0.0.1:5353"], "quota": 10, "absent": ["svc.cluster.local"]},
        },
        "desk": {
            "start": False,
            "listen": "127.0.0.1:8091",
            "url": "https://desk.example:8443",
            "key": "desk.key",
            "links": False,
            "oidc": {
                "issuer": "https://login.example",
                "client_id": "desk",
                "client_secret": {"file": "oidc.secret"},
                "name": "Acme",
                "scopes": ["openid"],
                "max_age": "8h",
                "ca": "login-ca.pem",
            },
            "webhooks": [
                {
                    "name": "ops",
                    "url": "https://hooks.example/intent",
                    "secret": {"file": "hooks/ops"},
                    "format": "json",
                    "events": ["hold.filed"],
                    "addresses": ["10.1.0.0/16"],
                    "over_http": False,
                },
                {"name": "chat", "url_from": {"environment": "SLACK_URL"}, "format": "slack"},
            ],
        },
        "tls": {
            "listen": "0.0.0.0:8443",
            "names": ["proxy.example", "2001:db8::1"],
            "certificate": "proxy.pem",
            "key": "proxy.key",
            "client_cas": ["agents.pem"],
        },
    },
    "clusters": {
        "version": 1,
        "clusters": [
            {
                "id": "invoices",
                "description": "Read invoices.",
                "hosts": ["erp.example", "*.erp.example"],
                "ports": [443, 8443],
                "schemes": ["https"],
                "addresses": ["10.1.0.0/16"],
                "risk": "routine",
                "proof": "session",
                "http2": True,
                "mode": "enforce",
                "review": {
                    "always": True,
                    "who": ["sponsor", "deputy"],
                    "quorum": 2,
                    "ttl": "4h",
                    "wait": "0s",
                    "effect": "deliver",
                    "idempotency_key": True,
                },
                "operations": [
                    {
                        "name": "read",
                        "methods": ["GET", "M-SEARCH"],
                        "path": "/v1/{id}",
                        "query": {
                            "a": "any",
                            "b": ["x"],
                            "c": {"one_of": ["y"], "required": True, "repeated": True, "encoded": True},
                        },
                    },
                    {"name": "any", "methods": ["GET"], "path": "/", "query": "any", "body": "none"},
                    {"name": "live", "methods": ["GET"], "path": "/live", "websocket": True},
                    *(
                        {"name": f"take-{kind}", "methods": ["POST"], "path": f"/{kind}", "body": body}
                        for kind, body in BODIES.items()
                    ),
                ],
            },
            *(
                {
                    "id": f"set-{way}",
                    "hosts": ["erp.example"],
                    "schemes": ["http"],
                    "risk": "routine",
                    "credential": {"secret": "erp", way: said, "over_http": True},
                    "operations": [{"name": "read", "methods": ["GET"], "path": "/"}],
                }
                for way, said in WAYS.items()
            ),
        ],
        "deny": [
            {
                "id": "no-admin",
                "description": "Nobody.",
                "hosts": ["erp.example"],
                "ports": [443],
                "schemes": ["http"],
                "operations": [{"name": "admin", "methods": ["GET"], "path": "/admin/{rest:rest}"}],
            }
        ],
    },
    "agents": {
        "version": 1,
        "agents": [
            {
                "id": "bot",
                "owner": "accounts payable",
                "sponsor": "ada",
                "class": "embedded",
                "must_declare": True,
                "may_delegate_to": ["bot"],
                "keys": [jwk(key("bot").public), jwk(key("bot", ES256).public)],
                "bindings": {"spiffe": ["spiffe://example.org/bot"], "source": ["eth1 10.89.0.7"]},
            }
        ],
    },
    "people": {
        "version": 1,
        "desk": {
            "keys": [jwk(key("desk").public)],
            "origins": ["https://desk.example", "https://desk.example:8443", "http://localhost:8090"],
        },
        "people": [
            {
                "id": "ada",
                "name": "Ada",
                "role": "Head",
                "deputy": "ben",
                "certified_until": "2027-06-30",
                "keys": [jwk(key("ada").public), jwk(key("ada", ES256).public)],
                "passkeys": [
                    {
                        "id": "AAAAAAAAAAAAAAAAAAAAAA",
                        "key": jwk(key("ada stick", ES256).public),
                        "rp_id": "desk.example",
                        "name": "the blue stick",
                    }
                ],
                "oidc": [
                    {"issuer": "https://login.example", "sub": "u-1"},
                    {"issuer": "https://login.example", "email": "ada@example.com"},
                ],
            },
            {"id": "ben", "name": "Ben", "role": "Head", "certified_until": "2027-06-30T10:00:00+02:00"},
        ],
    },
}

WRONG: tuple[object, ...] = (None, True, 0, -1, 70_000, "", "x", "~x", "*", [], ["x"], ["x", "x"], [1], {}, {"x": 1})


def mutations(document: object) -> Iterator[object]:
    """The document with one key missing, one too many, or one value replaced, at every place in it."""
    for path in _paths(document):
        for wrong in WRONG:
            yield _with(document, path, lambda _, wrong=wrong: wrong)
        yield _with(document, path, lambda node: {**node, "unheard_of": 1} if isinstance(node, dict) else node)
        yield _with(document, path, lambda node: [*node, node[0]] if isinstance(node, list) and node else node)
        if path and isinstance(path[-1], str):
            *parents, last = path
            yield _with(document, tuple(parents), lambda node, last=last: {k: v for k, v in node.items() if k != last})


def _paths(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in items:
        yield from _paths(inner, (*path, name))


def _with(document: object, path: tuple[str | int, ...], change: Callable[..., object]) -> object:
    if not path:
        return change(copy.deepcopy(document))
    changed = copy.deepcopy(document)
    node = changed
    for step in path[:-1]:
        node = node[step]  # type: ignore[index]
    node[path[-1]] = change(node[path[-1]])  # type: ignore[index]
    return changed


@pytest.mark.parametrize("name", FILES)
def test_the_committed_schema_is_up_to_date(name: str) -> None:
    file = f"{name}.schema.json"
    committed = (CONFIG / "schemas" / file).read_text(encoding="utf-8")
    assert committed == rendered(schema(name)), "run: python -m proxy.policy.schemas config/schemas"


@pytest.mark.parametrize("name", FILES)
def test_the_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("name", FILES)
def test_the_example_is_valid_and_names_its_schema(name: str) -> None:
    data = (CONFIG / f"{name}.yaml").read_bytes()
    assert data.startswith(f"# yaml-language-server: $schema=schemas/{name}.schema.json\n".encode())
    root = load(data, Faults(name))
    assert root is not None
    document = json.loads(json.dumps(plain(root)))
    VALIDATORS[name].validate(document)
    assert not loader_refuses(name, data)


@pytest.mark.parametrize("name", FILES)
def test_a_document_with_every_key_passes_both(name: str) -> None:
    VALIDATORS[name].validate(WHOLE[name])
    assert not loader_refuses(name, json.dumps(WHOLE[name]).encode())


@pytest.mark.parametrize("name", FILES)
def test_the_document_with_every_key_has_every_key_of_the_schema(name: str) -> None:
    written = set(_keys(WHOLE[name]))
    assert set(_properties(schema(name))) <= written


def _keys(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, inner in node.items():
            yield name
            yield from _keys(inner)
    if isinstance(node, list):
        for inner in node:
            yield from _keys(inner)


def _properties(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        properties = node.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for inner in node.values():
            yield from _properties(inner)
    if isinstance(node, list):
        for inner in node:
            yield from _properties(inner)


@pytest.mark.parametrize("name", FILES)
def test_what_the_schema_refuses_the_loader_refuses_too(name: str) -> None:
    tried = [mutation for mutation in mutations(WHOLE[name]) if schema_refuses(name, mutation)]
    assert len(tried) > 100
    accepted = [mutation for mutation in tried if not loader_refuses(name, json.dumps(mutation).encode())]
    assert accepted == []


@pytest.mark.parametrize("name", FILES)
def test_every_key_has_a_description_for_editors(name: str) -> None:
    def bare(node: object, where: str) -> Iterator[str]:
        if isinstance(node, dict):
            for key_name, inner in (node.get("properties") or {}).items():
                described = isinstance(inner, dict) and ("description" in inner or "$ref" in inner)
                if not described and key_name not in {"kty", "crv", "x", "y"}:
                    yield f"{where}.{key_name}"
            for step, inner in node.items():
                yield from bare(inner, f"{where}.{step}")
        if isinstance(node, list):
            for inner in node:
                yield from bare(inner, where)

    assert list(bare(schema(name), name)) == []


def test_the_schemas_are_written_where_asked(tmp_path: Path) -> None:
    write_schemas(tmp_path / "made" / "schemas")
    assert sorted(path.name for path in (tmp_path / "made" / "schemas").iterdir()) == sorted(schemas())
