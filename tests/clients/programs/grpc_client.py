"""Calls by grpcio: `grpc_client.py TARGET METHOD...`. The proxy comes from the environment, as does what to trust.

Prints each message when it comes. The last line for each method is JSON: what the program's user can learn.
"""

import json
import os
import sys
from pathlib import Path

import grpc

TARGET, *METHODS = sys.argv[1:]

credentials = grpc.ssl_channel_credentials(Path(os.environ["SSL_CERT_FILE"]).read_bytes())
with grpc.secure_channel(TARGET, credentials) as channel:
    for method in METHODS:
        path = f"/acme.Ledger/{method}"
        try:
            if method == "Watch":
                for message in channel.unary_stream(path)(b"ask", timeout=50):
                    print(message.decode(), flush=True)
            elif method == "Talk":
                for message in channel.stream_stream(path)(iter([b"one", b"two"]), timeout=50):
                    print(message.decode(), flush=True)
            else:
                answer, call = channel.unary_unary(path).with_call(b"ask", timeout=50)
                print(answer.decode(), [key for key, _ in call.trailing_metadata()], flush=True)
            told = {"code": "OK", "details": ""}
        except grpc.RpcError as fault:
            told = {"code": fault.code().name, "details": fault.details()}
        print(json.dumps(told), flush=True)
