"""Tornado: its own parser, and its own reading of arguments."""

import asyncio
from urllib.parse import unquote_to_bytes

from recording import options, record, server_context
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

GIVEN = options()


class Everything(RequestHandler):
    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS", "PROPFIND", "REPORT", "M-SEARCH")

    def _execute_method(self) -> None: ...

    def answer(self) -> None:
        request: HTTPServerRequest = self.request
        record(
            GIVEN.log,
            method=request.method or "",
            target=request.uri or "",
            path=unquote_to_bytes(request.path),
            pairs=[
                (name, value.decode("utf-8", "replace"))
                for name, values in request.query_arguments.items()
                for value in values
            ],
            headers=list(request.headers.get_all()),
            body=request.body,
        )
        self.finish(b"" if request.method == "HEAD" else b"ok\n")

    get = head = post = delete = patch = put = options = propfind = report = answer


async def main() -> None:
    app = Application([(r".*", Everything)])
    HTTPServer(app).listen(GIVEN.plain, "127.0.0.1")
    HTTPServer(app, ssl_options=server_context(GIVEN)).listen(GIVEN.tls, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
