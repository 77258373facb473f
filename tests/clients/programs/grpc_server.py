"""A gRPC server over TLS: `grpc_server.py PORT CERT KEY LOG GO`. It logs each request, one JSON line a message.

`Read` answers once. `Watch` answers twice, the second time when the file GO is there. `Talk` answers each message.
"""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

PORT, CERT, KEY, LOG, GO = sys.argv[1:6]


def note(context: grpc.ServicerContext, method: str, request: bytes) -> None:
    metadata = [key for key, _ in context.invocation_metadata()]
    with Path(LOG).open("a", encoding="ascii") as log:
        log.write(json.dumps({"method": method, "request": request.decode(), "metadata": metadata}) + "\n")


def read(request: bytes, context: grpc.ServicerContext) -> bytes:
    note(context, "Read", request)
    context.set_trailing_metadata((("x-after", "trailer"),))
    return b"read " + request


def watch(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    note(context, "Watch", request)
    yield b"first"
    while not Path(GO).exists() and context.is_active():
        time.sleep(0.01)
    yield b"second"


def talk(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    for request in requests:
        note(context, "Talk", request)
        yield b"heard " + request


handlers = {
    "Read": grpc.unary_unary_rpc_method_handler(read),
    "Watch": grpc.unary_stream_rpc_method_handler(watch),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
    "Secrets": grpc.unary_unary_rpc_method_handler(read),
    "Payroll": grpc.unary_unary_rpc_method_handler(read),
}
server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("acme.Ledger", handlers),))
credentials = grpc.ssl_server_credentials([(Path(KEY).read_bytes(), Path(CERT).read_bytes())])
assert server.add_secure_port(f"127.0.0.1:{PORT}", credentials)
server.start()
server.wait_for_termination()
