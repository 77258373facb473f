"""One healthy town for the tests of this folder that need no other."""

from collections.abc import Iterator

import pytest
from towns import Town, open_town


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("town")) as opened:
        yield opened
