"""What mitmproxy does for every message and need not: the one place where its code is replaced by quicker code.

Each replacement means the same (tests/edge/test_quick.py); with another mitmproxy than the one it was written for,
none is made, and everything works as before, more slowly.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import fields
from functools import cache
from types import ModuleType

from mitmproxy import hooks, http, version
from mitmproxy.proxy import context
from mitmproxy.utils import asyncio_utils

logger = logging.getLogger(__name__)

WRITTEN_FOR = "12.2.3"

_FIXED: dict[object, tuple[type, ...]] = {
    bytes: (bytes,),
    int: (int,),
    str: (str,),
    float: (float, int),
    http.Headers: (http.Headers,),
    bytes | None: (bytes, type(None)),
    float | None: (float, int, type(None)),
    http.Headers | None: (http.Headers, type(None)),
}
"""Which types exactly pass mitmproxy's own check of a field that is declared so. Others may: it is asked then."""

_check: Callable[[http.MessageData], None] = http.MessageData.__post_init__


def install() -> bool:
    """Replace what can be; whether it was done."""
    if version.VERSION != WRITTEN_FOR:
        logger.warning("mitmproxy is %s, not %s: every call costs more than it need", version.VERSION, WRITTEN_FOR)
        return False
    for owner, name, quicker in REPLACED:
        setattr(owner, name, quicker)
    return True


def _quick_check(message: http.MessageData) -> None:
    """mitmproxy looks at every field of every message with `typing`: a tenth of a call's time."""
    known = message.__dict__
    for name, exactly in _types_of(type(message)):
        if type(known[name]) not in exactly:
            _check(message)
            return


@cache
def _types_of(kind: type[http.MessageData]) -> tuple[tuple[str, tuple[type, ...]], ...]:
    return tuple((field.name, _FIXED.get(field.type, ())) for field in fields(kind))


def _quick_get_all(headers: http.Headers, name: str | bytes) -> list[str]:
    """As `Headers.get_all`, each name of the message turned to lower case once and to text never."""
    key = (name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")).lower()
    return [value.decode("utf-8", "surrogateescape") for each, value in headers.fields if each.lower() == key]


def _quick_contains(headers: http.Headers, name: object) -> bool:
    """As `in`, which makes a `KeyError` for each name that is not there."""
    return isinstance(name, str | bytes) and bool(_quick_get_all(headers, name))


def _quick_get(headers: http.Headers, name: str | bytes, default: object = None) -> object:
    values = _quick_get_all(headers, name)
    return ", ".join(values) if values else default


def _quick_fork(ctx: context.Context) -> context.Context:
    """As `Context.fork`, which makes a connection to nowhere for each request and drops it."""
    forked = context.Context.__new__(context.Context)
    forked.client, forked.options, forked.server = ctx.client, ctx.options, ctx.server
    forked.layers = ctx.layers.copy()
    return forked


def _quick_args(hook: hooks.Hook) -> list[object]:
    """As `Hook.args`, which lists the fields of a hook's class anew for every event."""
    kind = type(hook)
    if kind not in _NAMES:
        _NAMES[kind] = tuple(field.name for field in fields(hook))  # type: ignore[arg-type]
    return [getattr(hook, name) for name in _NAMES[kind]]


_NAMES: dict[type[hooks.Hook], tuple[str, ...]] = {}


def _quick_create_task[T](
    coro: Coroutine[object, object, T], *, name: str, keep_ref: bool, client: object = None
) -> asyncio.Task[T]:
    """As `asyncio_utils.create_task`, without what is noted on each task for people who look at them in mitmproxy."""
    task = asyncio.get_running_loop().create_task(coro)
    if keep_ref and not task.done():
        asyncio_utils._KEEP_ALIVE.add(task)
        task.add_done_callback(asyncio_utils._KEEP_ALIVE.discard)
    return task


REPLACED: tuple[tuple[type | ModuleType, str, Callable[..., object]], ...] = (
    (context.Context, "fork", _quick_fork),
    (hooks.Hook, "args", _quick_args),
    (asyncio_utils, "create_task", _quick_create_task),
    (http.MessageData, "__post_init__", _quick_check),
    (http.Headers, "get_all", _quick_get_all),
    (http.Headers, "get", _quick_get),
    (http.Headers, "__contains__", _quick_contains),
)
"""Whose method is replaced, and by what."""
