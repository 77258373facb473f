"""The desk beside a proxy: started again, whatever ended it."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from proxy.cli import deskchild
from proxy.cli.deskchild import DeskChild


async def test_a_desk_that_cannot_be_started_now_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where there is no memory for a moment, or the program is being replaced."""
    ready = asyncio.Event()
    monkeypatch.setattr(deskchild, "RESTART_AFTER_S", (0.01,))
    monkeypatch.setattr(deskchild, "PROGRAM", (str(tmp_path / "none"),))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def on_ready() -> None:
            ready.set()
            raise OSError(28, "No space left on device")  # for the link

        child = DeskChild(config=tmp_path / "proxy.yaml", sockets=(listening,), dev=False, on_ready=on_ready)
        keeping = asyncio.ensure_future(child.keep())
        while "cannot be started" not in caplog.text:
            await asyncio.sleep(0)
            assert not keeping.done()
        serve = "import sys; print('ready', flush=True); sys.stdin.read()"
        monkeypatch.setattr(deskchild, "PROGRAM", (sys.executable, "-c", serve))
        await asyncio.wait_for(ready.wait(), 20)
        while "cannot be told: [Errno 28]" not in caplog.text:
            await asyncio.sleep(0)
        assert not keeping.done()  # it serves on
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
