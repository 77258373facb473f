"""One street for the whole corpus."""

from collections.abc import Iterator

import pytest
from streets import Street, open_street


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with open_street(tmp_path_factory.mktemp("street")) as running:
        yield running
