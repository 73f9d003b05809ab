"""One gRPC call, or some: `grpc_call.py ADDRESS METHOD [MESSAGE [TIMES [NAME=VALUE…]]]`, METHOD of `/shop.v1.Test/`. Prints a line for each
call: its answer, or its status and the metadata that begins with `retry` or `grpc-retry`."""

import sys

import grpc

address, method = sys.argv[1:3]
message = sys.argv[3].encode() if len(sys.argv) > 3 else b""
times = int(sys.argv[4]) if len(sys.argv) > 4 else 1
metadata = [tuple(pair.split("=", 1)) for pair in sys.argv[5:]]
with grpc.insecure_channel(address) as channel:
    call = channel.unary_unary(f"/shop.v1.Test/{method}")
    for _ in range(times):
        try:
            print(call(message, timeout=10, metadata=metadata).decode())
        except grpc.RpcError as error:
            found = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
            shown = sorted({f"{name}={value}" for name, value in found if name.startswith(("retry", "grpc-retry", "ratelimit"))})
            print(error.code().name, *shown)
