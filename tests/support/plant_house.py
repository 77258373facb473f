"""Runs the proxy, its workers started by another command: `plant_house.py COMMAND CONFIG WORKERS PORT`.

COMMAND is a shell-quoted prefix to the worker's own arguments, such as `python planting.py SOCKET`. Workers that die
are replaced at once, however often: here they die on purpose. `running` is the test's way to it.
"""

import functools
import runpy
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import planting
from certs import Authority
from houses import CLUSTERS, house
from origins import Origin
from planting import Garden
from towns import ROOMY, Town


@dataclass(kw_only=True)
class PlantedTown(Town):
    """A town with one worker, in which exceptions can be planted."""

    garden: Garden


@contextmanager
def running(folder: Path, *, worker: Sequence[str], clusters: str = CLUSTERS) -> Iterator[Town]:
    """A town whose one worker is started by `worker` and the worker's own arguments."""
    command = (sys.executable, __file__, shlex.join(worker))
    authority = Authority()
    with Origin() as plain, Origin(tls=authority.server("erp.example")) as tls:
        text = clusters.format(http=plain.port, https=tls.port)
        settings = f"upstream_cas: [{authority.write(folder)}]\n{ROOMY}"
        with house(folder, clusters=text, extra=settings, workers=1, command=command) as built:
            yield Town(house=built, plain=plain, tls=tls, authority=authority)


@contextmanager
def planted_town(folder: Path) -> Iterator[PlantedTown]:
    """A town in whose worker functions can be traced and made to raise."""
    with TemporaryDirectory() as short:  # the path of a unix socket must be short
        socket = f"{short}/plants"
        worker = [sys.executable, planting.__file__, socket]
        with running(folder, worker=worker) as built, closing(Garden(socket)) as garden:
            yield PlantedTown(
                house=built.house, plain=built.plain, tls=built.tls, authority=built.authority, garden=garden
            )


def main() -> None:
    """The supervisor, with another command for its workers."""
    from proxy.edge import run

    command = tuple(shlex.split(sys.argv.pop(1)))
    run.Launch = functools.partial(run.Launch, command=command)  # type: ignore[misc,assignment]
    run.RESTART_AFTER_S = (0.1,)
    runpy.run_path(str(Path(__file__).with_name("run_house.py")), run_name="__main__")


if __name__ == "__main__":
    main()
