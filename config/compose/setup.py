"""Makes what the sample deployment needs, at its first start: each part's papers in a volume of its own.

python3 setup.py explicit|transparent

For anything real the operator's and the people's keys are made elsewhere, by those they belong to.
"""

import os
import secrets
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
DEPLOYMENT = Path("/var/lib/intent-proxy")
PAPERS, PEOPLE, STORE, SERVER = (Path("/srv", name) for name in ("papers", "people", "store", "server"))
AGENT = "invoice-bot"

COMMON = """
redis_url: redis://:{password}@store:6379/0
upstream_cas: [origin-ca.pem]
desk: {{start: false, listen: 0.0.0.0:8090, url: "http://localhost:{desk}"}}
"""
BY_KIND = {
    "explicit": "tls: {listen: 0.0.0.0:8443, names: [proxy]}\n",
    "transparent": "transparent: {listen: [127.0.0.1:8444], dns: {listen: [127.0.0.1:5353]}}\n",
}
VALKEY = """
bind * -::*
requirepass {password}
dir /srv/store
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
maxmemory 384mb
maxmemory-policy noeviction
save ""
"""


def intent_proxy(*words: object) -> None:
    subprocess.run(["intent-proxy", *map(str, words)], check=True)


def certificate(folder: Path, *names: str) -> bytes:
    """A server's key and certificate in `folder`; returns the certificate, which is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem


def main(kind: str) -> None:
    if (DEPLOYMENT / "proxy.yaml").exists():
        print("there already")
        return
    password = secrets.token_urlsafe(24)
    mine = Path("/tmp/mine")  # in a tmpfs of this container's own
    listen = "0.0.0.0:8080" if kind == "explicit" else "127.0.0.1:8080"
    intent_proxy("init", mine, "--deployment", "compose", "--agent", AGENT, "--listen", listen)
    (mine / "origin-ca.pem").write_bytes(certificate(SERVER, "erp.example", "payroll.example"))
    with (mine / "proxy.yaml").open("a") as settings:
        settings.write(COMMON.format(password=password, desk=os.environ.get("DESK_PORT", "8090")) + BY_KIND[kind])
    agents, clusters = (mine / "agents.yaml").read_text(), (HERE / "clusters.yaml").read_text()
    agents = agents.replace("class: embedded", "class: augmenting")  # need not say why each time
    if kind == "transparent":  # where it is stands for who it is
        agents = agents.replace("class:", 'bindings: {source: ["lo 127.0.0.1"]}\n    class:')
        clusters = clusters.replace("risk: routine", "risk: routine\n    proof: source")
    (mine / "agents.yaml").write_text(agents)
    (mine / "clusters.yaml").write_text(clusters)
    intent_proxy("bundle", "sign", "-c", mine)
    words = ["--agent", AGENT, "--cluster", "supplier-invoices", "--purpose", "Match the invoices of suppliers."]
    intent_proxy("manifest", "sign", "-c", mine, *words, "--yes")

    shutil.copy(mine / "state" / "ca" / "ca.pem", PAPERS / "ca.pem")
    if kind == "explicit":
        shutil.copy(mine / "keys" / f"{AGENT}.pem", PAPERS / "agent.pem")
        shutil.copy(mine / "manifests" / f"{AGENT}.jws", PAPERS / "agent.jws")
    else:
        PAPERS.chmod(0o755)  # the agent is another user here
    shutil.copytree(mine / "keys", PEOPLE, dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"{AGENT}.pem"))
    (STORE / "valkey.conf").write_text(VALKEY.format(password=password))
    (STORE / "valkey.conf").chmod(0o600)
    shutil.rmtree(mine / "keys")
    settings_last = shutil.ignore_patterns("proxy.yaml")
    shutil.copytree(mine, DEPLOYMENT, dirs_exist_ok=True, ignore=settings_last)
    (DEPLOYMENT / "keys").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(mine / "proxy.yaml", DEPLOYMENT / "proxy.yaml")
    (DEPLOYMENT / "proxy.yaml").chmod(0o600)
    print("made")


if __name__ == "__main__":
    main(sys.argv[1])
