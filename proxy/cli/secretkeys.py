"""What `intent-proxy keys secret|rotate|rewrap|retire` do: the keys of held calls, changed while the proxy runs."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.screen import WARN, Screen, document
from proxy.cli.store import open_secret, open_store
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.edge.secret import VARIABLE
from proxy.stores.keyring import SECRET_BYTES, RingFile, RingKey, Role
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.rewrap import Rewrapped, in_use, rewrap_all
from proxy.stores.vault import SecretVault

KEPT_AFTER = timedelta(days=1)
"""A key may go this long after it ceased to seal: nothing but open holds, which are counted, lives longer."""

IN_FLIGHT = timedelta(seconds=2.5)
"""From sealing a call until it is filed, or never will be, takes less: a decision has 1.5 s, and `at` whole seconds."""

_ROLES = {
    Role.SEAL: "seals since",
    Role.OPEN: "sealed until",
    Role.NEXT: "made, waits to seal",
}


def secret(config: Path | None, *, as_json: bool) -> None:
    """List the keys by id, and how many open holds each opens."""
    vault, used = _with_holds(config, lambda vault, holds: in_use(holds, vault))
    keys = vault.rings.current().keys
    if as_json:
        document([_key_json(key, used) for key in keys])
        return
    Screen().table(
        ("key", "is", "when", "open holds"),
        ((key.name, _ROLES[key.role], _when(key.at), str(used.get(key.id, 0))) for key in keys),
        empty="",
    )


def rotate(config: Path | None, *, prepare: bool, as_json: bool) -> None:
    """Make a new key, seal with it from now on, and wrap the data key of every open hold anew."""
    deployment = open_deployment(config)
    file = _file(open_secret(deployment))
    with file.changing() as ring:
        fresh = os.urandom(SECRET_BYTES)
        ring = ring.prepared(fresh, now=now()) if prepare else ring.rotated(fresh, now=now())
        file.write(ring)
    if prepare:
        made = ring.keys[-1]
        if as_json:
            document({"prepared": made.name, "rewrapped": 0, "unreadable": []})
        else:
            Screen().say(f"key {made.name} opens from now on; copy {file.path} to every machine, then: keys rotate")
        return
    if not as_json:
        Screen().note(f"key {ring.sealing.name} seals from now on; if this is cut off: keys rewrap")
    _tell(*_rewrapped(config), as_json=as_json)


def rewrap(config: Path | None, *, as_json: bool) -> None:
    """Wrap the data key of every open hold under the key that seals now: the second half of keys rotate."""
    _tell(*_rewrapped(config), as_json=as_json)


def retire(config: Path | None, *, at_once: bool, as_json: bool) -> None:
    """Drop every key that no longer seals and that nothing needs. What it sealed can never be read again."""
    ceased = [key for key in open_secret(open_deployment(config)).rings.current().keys if key.role is Role.OPEN]
    if at_once and ceased:  # a call may have been sealed with it that is only now being filed
        time.sleep(max(0.0, (max(key.at for key in ceased) + IN_FLIGHT - now()).total_seconds()))
    _, done = _rewrapped(config)
    vault, used = _with_holds(config, lambda vault, holds: in_use(holds, vault))
    file = _file(vault)
    with file.changing() as ring:
        # Not those that ceased to seal after the holds were counted.
        known = [key for key in ring.keys if key.id in {old.id for old in ceased}]
        gone = [key for key in known if _may_go(key, used, now(), at_once=at_once)]
        if gone:
            file.write(ring.without([key.id for key in gone]))
    kept = [key for key in ring.keys if key.role is Role.OPEN and key not in gone]
    if as_json:
        document({"retired": [key.name for key in gone], "kept": [key.name for key in kept]})
        return
    screen = Screen()
    for key in gone:
        screen.say(f"key {key.name} is gone")
    for key in kept:
        why = f"{used[key.id]} open holds need it" if used.get(key.id) else f"it sealed until {_when(key.at)}"
        screen.note(f"key {key.name} stays: {why}")
    if not gone:
        screen.note("no key was retired")
    _warn(screen, done)


def _may_go(key: RingKey, used: Mapping[bytes, int], moment: datetime, *, at_once: bool) -> bool:
    if key.role is not Role.OPEN or used.get(key.id):
        return False
    return at_once or key.at + KEPT_AFTER <= moment


def _rewrapped(config: Path | None) -> tuple[SecretVault, Rewrapped]:
    return _with_holds(config, lambda vault, holds: rewrap_all(holds, vault))


def _with_holds[T](
    config: Path | None, work: Callable[[SecretVault, RedisHolds], Awaitable[T]]
) -> tuple[SecretVault, T]:
    deployment: Deployment = open_deployment(config)
    vault = open_secret(deployment)

    async def run() -> T:
        async with open_store(deployment) as server:
            return await work(vault, RedisHolds(server))

    return vault, asyncio.run(run())


def _file(vault: SecretVault) -> RingFile:
    if not isinstance(vault.rings, RingFile):
        detail = f"the secret is in ${VARIABLE}: change it there, start every node anew, then run keys rewrap"
        raise Rejected(Code.CONFIG_INVALID, detail, field="secret")
    return vault.rings


def _tell(vault: SecretVault, done: Rewrapped, *, as_json: bool) -> None:
    name, unreadable = vault.rings.current().sealing.name, sorted(done.unreadable)
    if as_json:
        document({"seals": name, "rewrapped": done.holds, "unreadable": _texts(unreadable)})
        return
    screen = Screen()
    screen.say(f"{done.holds} held calls wrapped anew under key {name}")
    _warn(screen, done)


def _warn(screen: Screen, done: Rewrapped) -> None:
    for hold_id in sorted(done.unreadable):
        screen.note(
            f"hold {hold_id} opens under no key: it was changed in the store and cannot be released", style=WARN
        )


def _texts(texts: Sequence[str]) -> list[Json]:
    return list(texts)


def _key_json(key: RingKey, used: Mapping[bytes, int]) -> Json:
    return {"key": key.name, "role": key.role.value, "at": _when(key.at), "open_holds": used.get(key.id, 0)}


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment.timestamp() else "the beginning"
