"""A gRPC service with `grpc.health.v1.Health`, without generated code: `serving.py NAME`. `/shop.v1.Test/Name` returns its name,
`/shop.v1.Test/Set` sets the status of its health (1: SERVING, 2: NOT_SERVING), `/shop.v1.Test/Checks` counts the checks."""

import sys
from concurrent import futures

import grpc

import peer

status, checks = b"\x01", 0


def check(request, context):
    # HealthCheckRequest: field 1, a string.
    global checks
    checks += 1
    if request not in (b"", b"\x0a\x04shop"):
        context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request!r}")
    # HealthCheckResponse: field 1, an enumeration.
    return b"\x08" + status


def change(request, context):
    global status
    status = bytes([int(request)])
    return b""


server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
methods = {
    "Name": lambda request, context: sys.argv[1].encode(),
    "Set": change,
    "Checks": lambda request, context: str(checks).encode(),
}
for service, handlers in {"shop.v1.Test": methods, "grpc.health.v1.Health": {"Check": check}}.items():
    handlers = {name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in handlers.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
# The port is free again after a kill: another process begins there.
port = server.add_insecure_port(f"127.0.0.1:{sys.argv[2] if len(sys.argv) > 2 else 0}")
server.start()
peer.publish(port)
server.wait_for_termination()
