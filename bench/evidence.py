"""What a round left behind: the journal's new lines, and the nonces in the store."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.honesty import Allowed
from proxy.audit.sinks import read_checkpoint_file
from proxy.audit.verify import verify_journal
from proxy.core.encoding import canonical_json, sha256_b64u
from proxy.edge.parts import node_identity
from proxy.policy.settings import Settings
from proxy.stores.embedded import EmbeddedStore
from proxy.stores.redis import PREFIX, RedisServer

_AT_ONCE = 500


@dataclass(slots=True)
class JournalTail:
    """Reads the lines that were added to a journal since it was last asked."""

    directory: Path
    _read: dict[str, int] = field(default_factory=dict)  # file name -> bytes already read

    def allowed(self) -> list[Allowed]:
        """The new `allow` decisions, in the order they were written."""
        found = []
        for path in sorted(self.directory.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path.name, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path.name] = self._read.get(path.name, 0) + len(whole)
            found += [_allowed(line) for line in map(json.loads, whole.splitlines()) if line.get("verdict") == "allow"]
        return found


def _allowed(line: dict[str, Any]) -> Allowed:
    target = urlsplit(line["url"]).path + ("?…" if line.get("query") else "")
    return Allowed(target=f"{line['method']} {target}", nonce_sha256=line.get("nonce_sha256", ""))


def nonces_in_store(settings: Settings, *, keyid: str, nonces: Sequence[str]) -> int:
    """How many of these nonces the proxy's store has as spent (it forgets them after three minutes)."""

    async def count() -> int:
        server = RedisServer(EmbeddedStore(settings.state).url)
        found = 0
        try:
            for start in range(0, len(nonces), _AT_ONCE):
                names = [_name(settings.deployment, keyid, nonce) for nonce in nonces[start : start + _AT_ONCE]]
                answer = await server.command("EXISTS", *names)
                assert isinstance(answer, int)
                found += answer
        finally:
            await server.close()
        return found

    return asyncio.run(count()) if nonces else 0


def _name(deployment: str, keyid: str, nonce: str) -> str:
    """As `stores.redis_replays` names it. Should it ever name it otherwise, every run here fails and says so."""
    return f"{PREFIX}nonce:{sha256_b64u(canonical_json([deployment, keyid, nonce]))}"


def journal_findings(settings: Settings) -> tuple[str, ...]:
    """What `audit verify` finds wrong with the whole journal."""
    tokens = read_checkpoint_file(settings.state / "checkpoints.jsonl")
    key = node_identity(settings.state).public
    report = verify_journal(settings.state / "journal", checkpoints=tokens, node_keys=[key])
    return tuple(f"journal {finding.file} line {finding.line}: {finding.detail}" for finding in report.findings)
