"""What people write, for tests: the example deployment on disk, and texts of single files with one thing changed."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from identities import NOW, key

from proxy.core.keys import PrivateKey
from proxy.policy.bundle import Signed, sign_bundle
from proxy.policy.example import ExampleKeys, example_files
from proxy.policy.settings import Settings, load_settings

OPERATOR: PrivateKey = key("operator")
KEYS = ExampleKeys(
    operator=OPERATOR.public,
    sponsor=key("maria").public,
    reviewer=key("jonas").public,
    agent=key("invoice-bot").public,
    desk=key("desk").public,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployment directory. Nothing is cached: every question reads the disk again."""

    directory: Path

    @property
    def proxy_yaml(self) -> Path:
        return self.directory / "proxy.yaml"

    @property
    def settings(self) -> Settings:
        return load_settings(self.proxy_yaml)

    def sign(self) -> Signed:
        return sign_bundle(self.settings, OPERATOR, now=NOW)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    def read(self, name: str) -> str:
        return (self.directory / name).read_text(encoding="utf-8")

    def change(self, name: str, old: str, new: str) -> None:
        """Replace the first `old` of a file by `new`; it must be there."""
        text = self.read(name)
        assert old in text
        self.write(name, text.replace(old, new, 1))


def deployment(directory: Path) -> Deployment:
    """The example, written into `directory`, unsigned."""
    made = Deployment(directory=directory)
    directory.chmod(0o700)
    for name, text in example_files(KEYS, certified_until=date(2027, 6, 30)).items():
        made.write(name, text)
    (directory / "state").mkdir(mode=0o700)
    return made
