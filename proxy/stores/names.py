"""Names to addresses by the system's resolver, in threads, within a deadline."""

import asyncio
import socket
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from proxy.core.errors import Code, Unavailable
from proxy.core.model import IPAddress
from proxy.ports import Resolver

DEADLINE_S = 2.0
THREADS = 16
REMEMBER_S = 1.0
"""An answer serves the calls of the next second, too: each is checked and dialled by it as if it had asked itself."""
MOST_REMEMBERED = 1_024
_NOBODY_TOLD = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM, socket.EAI_MEMORY})
"""Errors that say nothing about the name: the resolver is away, or we are."""


class SystemResolver(Resolver):
    """`getaddrinfo` in at most so many threads, since a call cannot be interrupted; who waits too long is refused."""

    def __init__(self, *, deadline_s: float = DEADLINE_S, threads: int = THREADS) -> None:
        self._deadline_s = deadline_s
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="resolve")
        self._known: OrderedDict[str, tuple[float, tuple[IPAddress, ...]]] = OrderedDict()  # until when, in loop time

    async def resolve(self, host: str, port: int) -> tuple[IPAddress, ...]:
        loop = asyncio.get_running_loop()
        until_s, known = self._known.get(host, (0.0, ()))
        if loop.time() < until_s:
            return known
        found = await self._look_up(host, port)
        self._known[host] = (loop.time() + REMEMBER_S, found)
        self._known.move_to_end(host)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _look_up(self, host: str, port: int) -> tuple[IPAddress, ...]:
        literal = _literal(host)
        if literal is not None:
            return (literal,)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_s):
                found = await loop.run_in_executor(self._threads, _look_up, host, port)
        except TimeoutError:
            raise Unavailable(Code.RESOLVER_DOWN, f"{host} was not resolved within {self._deadline_s:g} s") from None
        except (OSError, UnicodeError, ValueError) as fault:
            if isinstance(fault, socket.gaierror) and fault.errno in _NOBODY_TOLD:
                detail = f"nobody could say where {host} is: {fault.strerror}"
                raise Unavailable(Code.RESOLVER_DOWN, detail) from None
            reason = fault.strerror if isinstance(fault, OSError) else "not a name"
            raise Unavailable(Code.UPSTREAM_NAME, f"{host} does not resolve: {reason}") from None
        if not found:
            raise Unavailable(Code.UPSTREAM_NAME, f"{host} does not resolve: no address")
        return found

    def close(self) -> None:
        """Start no further look-ups. Running ones end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _literal(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _look_up(host: str, port: int) -> tuple[IPAddress, ...]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return tuple(dict.fromkeys(ip_address(address[0]) for *_, address in found))
