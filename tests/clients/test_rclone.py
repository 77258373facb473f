"""rclone (Go) behind the proxy, with a WebDAV server at the other end: copies up and down, a held and a denied one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import foreign
import pytest
from certs import Authority
from client_town import ClientTown, Told, client_town

from proxy.core.model import Verdict

pytestmark = pytest.mark.system

HOST = "dav.example"
FILES = """\
  - id: shared-files
    description: Exchange files with the supplier
    risk: routine
    hosts: [dav.example]
    schemes: [https]
    ports: [{dav}]
    addresses: [127.0.0.0/8]
    operations:
      - name: shared
        methods: [GET, HEAD, PUT, DELETE, PROPFIND, MKCOL, MOVE]
        path: /shared/{{path:rest}}
"""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The deployment, and the folder that the WebDAV server serves."""

    town: ClientTown
    files: Path
    port: int

    def rclone(self, *arguments: str | Path) -> Told:
        """Run it with one try for everything: what is refused is not to be asked for ten times."""
        options = [
            "--config",
            self.town.folder / "rclone.conf",
            "--ca-cert",
            self.town.house.ca,
            "--retries=1",
            "--low-level-retries=1",
        ]
        return self.town.run([foreign.program("rclone"), *arguments, *options])

    def remote(self, share: str, folder: str = "") -> list[str]:
        """A folder of a share, as an argument and its options."""
        return [f":webdav:{folder}", "--webdav-url", f"https://{HOST}:{self.port}{share}", "--webdav-vendor", "other"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("rclone")
    files, port = folder / "files", foreign.free_port()
    for name in ("shared", "private", "secrets"):
        (files / name).mkdir(parents=True)
        (files / name / "letter.txt").write_text(f"from {name}\n")
    authority = Authority()
    leaf = authority.server(HOST)
    cert, key = folder / "leaf.pem", folder / "leaf.key"
    cert.write_bytes(leaf.chain)
    key.write_bytes(leaf.key)
    serve = [
        foreign.program("rclone"),
        "serve",
        "webdav",
        files,
        "--config",
        folder / "rclone.conf",
        "--dir-cache-time",
        "0s",
    ]
    serve += ["--addr", f"127.0.0.1:{port}", "--cert", cert, "--key", key]
    with (
        foreign.running(serve, ports=[port], log=folder / "rclone.log"),
        client_town(folder / "town", more=FILES, ports={"dav": port}, authority=authority) as town,
    ):
        yield Shelf(town=town, files=files, port=port)


def test_files_go_up_and_come_down_whole(shelf: Shelf, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.mkdir()
    (sent / "a b+c%.bin").write_bytes(bytes(range(256)) * 4096)
    (sent / "é.txt").write_text("accented\n")
    up = shelf.rclone("copy", sent, *shelf.remote("/shared", "inbox"))
    assert up.exit_code == 0, up
    assert {path.name for path in (shelf.files / "shared" / "inbox").iterdir()} == {"a b+c%.bin", "é.txt"}

    back = tmp_path / "back"
    down = shelf.rclone("copy", *shelf.remote("/shared", "inbox"), back)
    assert down.exit_code == 0, down
    assert {path.name: path.read_bytes() for path in back.iterdir()} == {
        path.name: path.read_bytes() for path in sent.iterdir()
    }


def test_a_folder_outside_the_mandate_is_held_and_listed_once_released(shelf: Shelf) -> None:
    known = shelf.town.holds()
    told = shelf.rclone("lsf", *shelf.remote("/private"))
    filed = shelf.town.wait_for_a_hold(known)
    assert told.exit_code != 0
    assert "letter.txt" not in told.all
    assert all(word in told.all for word in ("mandate.not_covered", filed.id, "a person has been asked")), told

    shelf.town.house.decide(filed.id, Verdict.ALLOW)
    released = shelf.rclone("lsf", *shelf.remote("/private"))
    assert (released.exit_code, released.out) == (0, "letter.txt\n"), released


def test_a_denied_folder_is_not_read_and_its_user_learns_why(shelf: Shelf, tmp_path: Path) -> None:
    told = shelf.rclone("lsf", *shelf.remote("/secrets"))
    assert told.exit_code != 0
    assert "letter.txt" not in told.all
    assert "policy.denied" in told.all, told


def test_a_program_that_shows_no_body_still_shows_the_code_and_the_hold(shelf: Shelf) -> None:
    known = shelf.town.holds()
    remote = [":http:", "--http-url", f"https://{HOST}:{shelf.port}/private/"]
    told = shelf.rclone("lsf", *remote)
    filed = shelf.town.wait_for_a_hold(known)
    assert f"403 mandate.not_covered {filed.id}" in told.all, told
