"""A gRPC service without generated code: messages are bytes."""

import time
from concurrent import futures

import grpc

import peer

cancelled = []


def unary(request, context):
    metadata = context.invocation_metadata()
    sent = [(key, value) for key, value in metadata if key.startswith("x-")]
    context.send_initial_metadata(sent)
    context.set_trailing_metadata(sent + [("x-seen", str(len(request)))])
    return request


def collect(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def chat(requests, context):
    for request in requests:
        yield b"re: " + request


def status(request, context):
    code = next(code for code in grpc.StatusCode if code.value[0] == int(request))
    context.abort(code, "as requested: 100 % schön")


def sleep(request, context):
    context.add_callback(lambda: cancelled.append(1))
    while context.is_active():
        time.sleep(0.01)
    return b""


def deadline(request, context):
    return str(context.time_remaining()).encode()


def cancellations(request, context):
    return str(len(cancelled)).encode()


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Status": grpc.unary_unary_rpc_method_handler(status),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    "Deadline": grpc.unary_unary_rpc_method_handler(deadline),
    "Cancellations": grpc.unary_unary_rpc_method_handler(cancellations),
}

LARGE = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=LARGE)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.v1.Test", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
peer.publish(port)
server.wait_for_termination()
