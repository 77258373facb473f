"""One deployment, shared by the end-to-end tests of this folder."""

from collections.abc import Iterator

import pytest
from h2towns import Http2Town, open_http2_town
from keepers import Keeper, open_keeper
from towns import DELIVERED, ROOMY, Town, open_town


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("town")) as running:
        yield running


@pytest.fixture(scope="module")  # some stop it
def delivering_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("delivered"), clusters=DELIVERED, extra=ROOMY) as running:
        yield running


@pytest.fixture(scope="session")
def http2_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http2Town]:
    with open_http2_town(tmp_path_factory.mktemp("http2-town")) as running:
        yield running
    assert not [line for line in running.house.output if "failed; it is closed" in line], "no layer ever raises"


@pytest.fixture(scope="session")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    with open_keeper(tmp_path_factory.mktemp("keeper")) as running:
        yield running
    assert not [line for line in running.house.output if "failed; it is closed" in line], "no layer ever raises"
