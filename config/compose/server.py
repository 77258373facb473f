"""The sample's server: answers any GET over TLS, and prints who asked for what.

python3 server.py DIRECTORY-WITH-cert.pem-AND-key.pem
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Answers(BaseHTTPRequestHandler):
    """One connection."""

    def do_GET(self) -> None:
        print("asked", self.headers["Host"], self.command, self.path, flush=True)
        body = json.dumps({"path": self.path, "amount": 17}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what was asked is printed above."""


def main(papers: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers / "cert.pem", papers / "key.pem")
    with ThreadingHTTPServer(("", 8443), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
