"""JSON Schemas (2020-12) of the four files people write, for editors; the loaders remain the judges.

`python -m proxy.policy.schemas DIR` writes them. What a schema refuses the loader refuses; the loader refuses more,
such as public suffixes and names that are nowhere enrolled.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from proxy.core.encoding import Json
from proxy.core.model import AgentClass, Effect, Review, Risk
from proxy.core.names import DEFAULT_PORTS
from proxy.policy.body_schemas import BODY
from proxy.policy.clusters import MAX_QUORUM, METHOD_PATTERN, PROOFS
from proxy.policy.credentials import CREDENTIAL
from proxy.policy.document import DURATION_PATTERN, ID_PATTERN
from proxy.policy.oidc import IDENTITIES
from proxy.policy.passkeys import NAME_PATTERN, ORIGIN_PATTERN
from proxy.policy.pieces import Schema, listing, record
from proxy.policy.settings import Settings
from proxy.policy.values import JWK_SCHEMA

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _id(description: str) -> Schema:
    return {"description": description, "type": "string", "pattern": f"^{ID_PATTERN}$"}


def _text(description: str, *, longest: int) -> Schema:
    return {"description": description, "type": "string", "minLength": 1, "maxLength": longest}


def _duration(description: str, default_s: int) -> Schema:
    return {
        "description": description,
        "type": "string",
        "pattern": f"^{DURATION_PATTERN}$",
        "default": f"{default_s // 3600}h" if default_s and default_s % 3600 == 0 else f"{default_s}s",
    }


_VERSION: Schema = {"description": "The version of this file's grammar: 1.", "const": 1}
_HOSTS = listing(
    {"type": "string", "minLength": 1, "pattern": r"^(\*\.)?[^*/\s]+$"},
    'Host names or IP addresses; "*.example.com" (in quotes) stands for every name below example.com.',
)
_PORTS = listing({"type": "integer", "minimum": 1, "maximum": 65_535}, "Ports; left out, those usual for the schemes.")
_SCHEMES = listing({"enum": sorted(DEFAULT_PORTS)}, "Schemes; left out, https.")
_VALUES = listing({"type": "string"}, "The values the parameter may have, compared after decoding.")

_QUERY: Schema = {
    "description": "What may stand in the query. Left out: no parameters. any: whatever. Otherwise exactly these.",
    "anyOf": [
        {"const": "any"},
        {
            "type": "object",
            "propertyNames": {"minLength": 1},
            "additionalProperties": {
                "anyOf": [
                    {"const": "any"},
                    _VALUES,
                    record(
                        {
                            "one_of": _VALUES,
                            "required": {
                                "description": "Whether the parameter must be there.",
                                "type": "boolean",
                                "default": False,
                            },
                            "repeated": {
                                "description": "Whether the parameter may come more than once.",
                                "type": "boolean",
                                "default": False,
                            },
                            "encoded": {
                                "description": "Whether values may hold percent-encoded text, as URLs do.",
                                "type": "boolean",
                                "default": False,
                            },
                        },
                        needed=(),
                        description="Values, whether the parameter must be there, and how it may be written.",
                    ),
                ]
            },
        },
    ],
}

_OPERATION: Schema = {
    "name": _id("What manifests and messages call it."),
    "methods": listing({"type": "string", "pattern": f"^{METHOD_PATTERN}$"}, "HTTP methods, in capitals."),
    "path": {
        "description": (
            "A path template: /v1/invoices/{id}. {id} stands for one part, or for what stands between fixed texts: "
            "report.{format}. Flags: {id:encoded} may hold %2F, {id:matrix} a semicolon, a last {path:rest} is one or "
            "more parts; {path:rest,encoded,matrix} is all of it."
        ),
        "type": "string",
        "pattern": "^/",
    },
    "query": _QUERY,
    "websocket": {
        "description": "Whether it opens WebSockets, and nothing else. Methods: GET alone.",
        "type": "boolean",
        "default": False,
    },
}


def _operations(operation: Schema, description: str) -> Schema:
    needed = ("name", "methods", "path")
    return listing(record(operation, needed=needed, description="One thing that may be done."), description)


_REVIEW = record(
    {
        "always": {
            "description": "Hold every call of this cluster, also one the mandate covers.",
            "type": "boolean",
            "default": Review().always,
        },
        "who": {
            **listing({"type": "string", "minLength": 1}, "Who may decide: sponsor, deputy, or ids of people."),
            "default": list(Review().who),
        },
        "ttl": _duration("How long a held call waits for a decision before it expires.", Review().ttl_s),
        "quorum": {
            "description": "How many different people must release a call before it is sent. One denial ends it.",
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_QUORUM,
            "default": Review().quorum,
        },
        "wait": _duration("How long the agent's connection waits for it unasked.", Review().wait_s),
        "effect": {
            "description": "How a released call is sent: retry by its agent, or deliver by the proxy itself.",
            "enum": [effect.value for effect in Effect],
            "default": Review().effect.value,
        },
        "idempotency_key": {
            "description": "Give a delivered call without an Idempotency-Key its hold's id as one.",
            "type": "boolean",
            "default": Review().idempotency_key,
        },
    },
    needed=(),
    description="Who decides about held calls of this cluster.",
)

_CLUSTER = record(
    {
        "id": _id("What manifests and messages call it."),
        "description": _text("What it is for, in plain words; shown to sponsors and reviewers.", longest=2000),
        "hosts": _HOSTS,
        "ports": _PORTS,
        "schemes": {**_SCHEMES, "default": ["https"]},
        "addresses": listing(
            {"type": "string", "minLength": 1},
            "Networks (CIDR) the hosts must resolve inside; left out, every address must be public.",
        ),
        "risk": {
            "description": (
                "routine, or transformative: changes the world, needs request proof and the reviewer's own key."
            ),
            "enum": [risk.value for risk in Risk],
        },
        "proof": {
            "description": "The least proof; left out, session for routine and request for transformative clusters.",
            "enum": sorted(PROOFS),
        },
        "operations": _operations({**_OPERATION, "body": BODY}, "What may be done there."),
        "http2": {
            "description": "Offer HTTP/2 to agents whose tunnel leads here; gRPC needs it.",
            "type": "boolean",
            "default": False,
        },
        "credential": CREDENTIAL,
        "review": _REVIEW,
        "mode": {"description": "Only enforce, in this version.", "const": "enforce", "default": "enforce"},
    },
    needed=("id", "hosts", "risk", "operations"),
    description="A task cluster: destinations, and the operations permitted there.",
)

_DENY = record(
    {
        "id": _id("What messages call it."),
        "description": _text("Why, in plain words.", longest=2000),
        "hosts": _HOSTS,
        "ports": {**_PORTS, "description": "Ports; left out, every port."},
        "schemes": {**_SCHEMES, "description": "Schemes; left out, every scheme."},
        "operations": _operations(_OPERATION, "What is denied; left out, everything on these hosts."),
    },
    needed=("id", "hosts"),
    description="Denied always, whatever a mandate says.",
)

_KEYS = listing(JWK_SCHEMA, "Public keys, each enrolled for nobody else.", empty=True)

_CLUSTERS_FILE: Schema = {
    **record(
        {
            "version": _VERSION,
            "clusters": listing(_CLUSTER, "The task clusters.", empty=True),
            "deny": listing(_DENY, "Explicit denials.", empty=True),
        },
        needed=("version",),
        description="Task clusters and deny rules.",
    ),
    "anyOf": [{"required": ["clusters"]}, {"required": ["deny"]}],
}

_PASSKEY = record(
    {
        "id": {
            "description": "The credential's id, in base64url.",
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]{22,1364}$",
        },
        "key": JWK_SCHEMA,
        "rp_id": {
            "description": "The domain it was made for: the desk's host, or one above it.",
            "type": "string",
            "pattern": f"^{NAME_PATTERN}$",
        },
        "name": _text("What its owner calls it.", longest=200),
    },
    needed=("id", "key", "rp_id", "name"),
    description="A passkey (WebAuthn) that signs the person's releases at the review desk.",
)

_DESK = record(
    {
        "keys": listing(JWK_SCHEMA, "Public keys the desk signs with, each enrolled for nobody else.", empty=True),
        "origins": listing(
            {"type": "string", "pattern": f"^{ORIGIN_PATTERN}$"},
            "Where the desk's pages are, as browsers write it; passkeys count from nowhere else.",
            empty=True,
        ),
    },
    needed=("keys",),
    description="The review desk.",
)

_PERSON = record(
    {
        "id": _id("What other places call this person."),
        "name": _text("The person's name.", longest=200),
        "role": _text("What the person answers for.", longest=200),
        "deputy": _id("The id of who stands in when the certification has ended."),
        "certified_until": {
            "description": "The last day (2027-06-30, until it ends in UTC) or moment of the certification.",
            "type": "string",
            "pattern": r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2}))?$",
        },
        "keys": _KEYS,
        "passkeys": listing(_PASSKEY, "Passkeys, each enrolled for nobody else.", empty=True),
        "oidc": IDENTITIES,
    },
    needed=("id", "name", "role", "certified_until"),
    description="A named human who may sponsor, deputise or review.",
)

_AGENT = record(
    {
        "id": _id("What manifests and messages call this agent."),
        "owner": _text("Who runs it: a team or a department.", longest=200),
        "sponsor": _id("The id of the person who answers for it."),
        "class": {
            "description": "augmenting: helps a person at work. embedded: runs inside a workflow, must declare.",
            "enum": [kind.value for kind in AgentClass],
        },
        "must_declare": {
            "description": "Whether each call must bear Agent-Intent; left out, true for embedded agents.",
            "type": "boolean",
        },
        "may_delegate_to": listing(_id("An agent's id."), "Agents its mandate may be handed on to.", empty=True),
        "keys": _KEYS,
        "bindings": record(
            {
                "spiffe": listing(
                    {"type": "string", "pattern": r"^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$"},
                    "SPIFFE ids its client certificates bear, each of no other agent.",
                    empty=True,
                ),
                "source": listing(
                    {"type": "string", "pattern": r"^[!-.0-~]{1,15} [0-9A-Fa-f:.]+( [0-9A-Za-z._-]{1,64})?$"},
                    "Where it is, in transparent mode: interface, address and perhaps a generation.",
                    empty=True,
                ),
            },
            needed=(),
            description="By what else than its keys the agent is known.",
        ),
    },
    needed=("id", "owner", "sponsor", "class"),
    description="An agent in the inventory.",
)


def _file(key: str, entry: Schema, description: str) -> Schema:
    entries = listing(entry, description, empty=True)
    return record({"version": _VERSION, key: entries}, needed=("version", key), description=description)


_PEOPLE_FILE = record(
    {"version": _VERSION, "desk": _DESK, "people": listing(_PERSON, "The people.", empty=True)},
    needed=("version", "people"),
    description="The people who sponsor, deputise and review, and the desk where they do.",
)


def _settings() -> Schema:
    schema: Schema = _tidy(Settings.model_json_schema(mode="validation"))
    return schema


def _tidy(value: Json) -> Schema:
    """Without the titles pydantic makes from names, and without `null` for a key that is just left out."""

    def tidy(node: Json) -> Json:
        if isinstance(node, Mapping):
            drop = {"title"} | ({"default"} if node.get("default", 0) is None else set())
            return {
                name: {key: tidy(inner) for key, inner in item.items()}
                if name in ("properties", "$defs") and isinstance(item, Mapping)
                else tidy(item)
                for name, item in node.items()
                if name not in drop
            }
        if isinstance(node, list):
            return [tidy(item) for item in node]
        return node

    tidied = tidy(value)
    assert isinstance(tidied, dict)
    return tidied


def schemas() -> dict[str, Schema]:
    """File name to schema, of every file people write."""
    bodies: dict[str, Schema] = {
        "proxy": _settings(),
        "clusters": _CLUSTERS_FILE,
        "agents": _file("agents", _AGENT, "The inventory of agents."),
        "people": _PEOPLE_FILE,
    }
    return {f"{name}.schema.json": {"$schema": _DIALECT, **body} for name, body in bodies.items()}


def write_schemas(directory: Path) -> None:
    """Write every schema into `directory`, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (directory / name).write_text(rendered(schema), encoding="utf-8")


def rendered(schema: Schema) -> str:
    """The text of a schema file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
