"""HTTP/2 from clients, to an origin that speaks it and to one that does not."""

from collections.abc import Iterator

import pytest
from h2client import fields, open_http2
from h2towns import Http2Town, open_http2_town

ORIGINS = ("h2", "h1")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http2Town]:
    with open_http2_town(tmp_path_factory.mktemp("h2town")) as running:
        yield running


@pytest.mark.parametrize("over", ORIGINS)
def test_a_call_passes(town: Http2Town, over: str) -> None:
    url, chain = town.url("/v1/invoices/17", over=over), town.chain()
    with open_http2(town.house, url) as h2:
        answer = h2.answer(h2.send(fields(town.house, "GET", url, chain=chain)))
    assert answer.status == 200, answer
