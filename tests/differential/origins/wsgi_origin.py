"""gunicorn: what a WSGI application is handed. A master for each port, each with one worker of several threads."""

import os
from urllib.parse import parse_qsl

from gunicorn.app.base import BaseApplication
from recording import options, record

GIVEN = options()


def app(environ, start_response):
    headers = [(name[5:].replace("_", "-"), value) for name, value in environ.items() if name.startswith("HTTP_")]
    headers += [
        (name.replace("_", "-"), environ[name]) for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)
    ]
    record(
        GIVEN.log,
        method=environ["REQUEST_METHOD"],
        target=environ["RAW_URI"],
        path=environ["PATH_INFO"].encode("latin-1"),
        pairs=parse_qsl(environ["QUERY_STRING"], keep_blank_values=True),
        headers=headers,
        body=environ["wsgi.input"].read(),
    )
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\n"]


class Gunicorn(BaseApplication):
    def __init__(self, port: int, **settings) -> None:
        self.given = {"bind": f"127.0.0.1:{port}", "worker_class": "gthread", "threads": 8, "keepalive": 30}
        self.given |= {"loglevel": "critical", "control_socket_disable": True, **settings}
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.given.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self):
        return app


if os.fork():
    Gunicorn(GIVEN.plain).run()
else:
    Gunicorn(GIVEN.tls, certfile=GIVEN.cert, keyfile=GIVEN.key).run()
