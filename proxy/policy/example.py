"""The example deployment: what `init` writes and what stands in config/, from the same texts."""

import json
from dataclasses import dataclass
from datetime import date
from string import Template

from proxy.core.keys import jwk
from proxy.core.model import PublicKey
from proxy.policy.schemas import rendered, schemas


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleKeys:
    """The public keys of all who take part."""

    operator: PublicKey
    sponsor: PublicKey
    reviewer: PublicKey
    agent: PublicKey
    desk: PublicKey


SPONSOR = "maria"
REVIEWER = "jonas"
AGENT = "invoice-bot"
DEPLOYMENT = "accounts-payable"

_PROXY = Template("""\
# yaml-language-server: $$schema=schemas/proxy.schema.json
#
# How this node runs. Only the keys without a default are needed; docs/configuration.md lists all.
version: 1
deployment: $deployment
listen: $listen
workers: 2

# Who may sign the bundle (clusters, agents, people). Everything else hangs on these keys.
operators:
  - $operator

# TLS to this node, so that sessions and tunnels count from other machines, and CAs whose client certificates do, too
# (docs/wire.md).
#tls:
#  listen: 0.0.0.0:8443
#  client_cas: [client-ca.pem]

# Who signs people in at the review desk, besides links made on this machine: those whom people.yaml names under "oidc"
# (docs/desk.md).
#desk:
#  oidc: {issuer: "https://login.example", client_id: review-desk, client_secret: {file: oidc.secret}}

# Secrets that clusters may name in "credential": where each comes from, never what it is (docs/credentials.md).
#secrets:
#  erp-token: {file: erp.token}
""")

_CLUSTERS = Template("""\
# yaml-language-server: $$schema=schemas/clusters.schema.json
#
# What may be done, where. A mandate grants clusters from this file; whatever no granted cluster covers is held for a
# human. The order of entries means nothing.
version: 1

clusters:
  - id: supplier-invoices
    description: Read the invoices of suppliers, to match them with orders.
    hosts: [erp.example]
    risk: routine
    operations:
      - name: list-invoices
        methods: [GET]
        path: /v1/invoices
        query:
          status: [open, disputed]
          page: any
      - name: read-invoice
        methods: [GET]
        path: /v1/invoices/{id}
    #credential: {secret: erp-token, as: bearer} # set by the proxy on allowed calls, so that no agent has it

  - id: supplier-payments
    description: Propose payments to suppliers. The ERP system executes them without asking again.
    hosts: [erp.example]
    risk: transformative # needs a fresh signature on each call; reviewers sign releases with their own key
    operations:
      - name: propose-payment
        methods: [POST]
        path: /v1/payments
        body: # anything else in a payment is held for a human
          json:
            only: true
            fields:
              /invoice: {required: true}
              /amount: {least: 1, most: 10000, required: true}
              /currency: [EUR, USD]
              /note: {max_chars: 140}
    review:
      always: false
      who: [sponsor, deputy]
      ttl: 4h

# Denied whatever a mandate says.
deny:
  - id: no-administration
    description: Agents do not administer the ERP system.
    hosts: [erp.example]
    operations:
      - name: administration
        methods: [GET, POST, PUT, PATCH, DELETE]
        path: /admin/{path:rest}
""")

_AGENTS = Template("""\
# yaml-language-server: $$schema=schemas/agents.schema.json
#
# The inventory of agents, each with the human who answers for it.
version: 1

agents:
  - id: $agent_id
    owner: accounts payable
    sponsor: $sponsor_id
    class: embedded
    keys:
      - $agent
    #bindings: {spiffe: ["spiffe://accounts.example/invoice-bot"]} # of its client certificates (docs/wire.md)
""")

_PEOPLE = Template("""\
# yaml-language-server: $$schema=schemas/people.schema.json
#
# The humans who sign manifests and decide about held calls.
version: 1

# The review desk. Its key says who was there; that suffices for calls that change nothing and that one person decides.
# Everything else people sign themselves: with a key of theirs, or a passkey used on one of the desk's own pages.
desk:
  keys:
    - $desk
  origins: [http://localhost:8090]

people:
  - id: $sponsor_id
    name: Maria Brandt
    role: Head of accounts payable
    deputy: $reviewer_id
    certified_until: $certified_until
    keys:
      - $sponsor

  - id: $reviewer_id
    name: Jonas Weber
    role: Financial controller
    certified_until: $certified_until
    keys:
      - $reviewer
""")


def example_files(
    keys: ExampleKeys, *, certified_until: date, deployment: str = DEPLOYMENT, listen: str = "127.0.0.1:8080"
) -> dict[str, str]:
    """Relative path to text of every file of an unsigned deployment, the schemas for editors included."""
    filled = {
        "deployment": deployment,
        "listen": listen,
        "sponsor_id": SPONSOR,
        "reviewer_id": REVIEWER,
        "agent_id": AGENT,
        "certified_until": certified_until.isoformat(),
        "operator": key_line(keys.operator),
        "sponsor": key_line(keys.sponsor),
        "reviewer": key_line(keys.reviewer),
        "agent": key_line(keys.agent),
        "desk": key_line(keys.desk),
    }
    return {
        "proxy.yaml": _PROXY.substitute(filled),
        "clusters.yaml": _CLUSTERS.substitute(filled),
        "agents.yaml": _AGENTS.substitute(filled),
        "people.yaml": _PEOPLE.substitute(filled),
        **{f"schemas/{name}": rendered(schema) for name, schema in schemas().items()},
    }


def key_line(key: PublicKey) -> str:
    """A public key as it is written in these files: its JWK on one line, in JSON, which is YAML too."""
    return json.dumps(jwk(key))
