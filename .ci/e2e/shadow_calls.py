"""gRPC calls of all kinds: `shadow_calls.py serve SEEN_FILE` serves them and records what it receives, `shadow_calls.py call
PORT COUNT` makes them and checks the responses. Messages are bytes; there is no generated code."""

import hashlib
import json
import random
import sys
import threading
from concurrent import futures

import grpc

import peer

LOCK = threading.Lock()


def serve():
    seen = open(sys.argv[2], "a", buffering=1)

    def record(context, messages):
        metadata = sorted([key, value.hex() if isinstance(value, bytes) else value] for key, value in context.invocation_metadata())
        digest = [hashlib.sha256(message).hexdigest() for message in messages]
        with LOCK:
            seen.write(json.dumps({"headers": metadata, "messages": digest}) + "\n")
        context.set_trailing_metadata([("x-count", str(len(messages)))])

    def unary(request, context):
        record(context, [request])
        return request[::-1]

    def collect(requests, context):
        messages = list(requests)
        record(context, messages)
        return str(sum(map(len, messages))).encode()

    def count(request, context):
        record(context, [request])
        for number in range(20):
            yield str(number).encode() + request

    def chat(requests, context):
        messages = []
        for request in requests:
            messages.append(request)
            yield b"re: " + request
        record(context, messages)

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.v1.Test", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    peer.publish(port)
    server.wait_for_termination()


def call():
    chance, done = random.Random(7), 0
    with grpc.insecure_channel(f"127.0.0.1:{sys.argv[2]}") as channel:
        for number in range(int(sys.argv[3])):
            messages = [chance.randbytes(chance.choice([0, 1, 100, 5000])) for _ in range(chance.randrange(1, 5))]
            metadata = [("x-text", f"a, b; {number}"), ("x-empty", ""), ("x-twice", "1"), ("x-twice", "2")]
            metadata += [("x-raw-bin", chance.randbytes(n)) for n in (0, 1, 2, 3, 40)]
            options = {"metadata": metadata, "timeout": 10}
            kind = number % 4
            if kind == 0:
                good = channel.unary_unary("/shop.v1.Test/Unary")(messages[0], **options) == messages[0][::-1]
            elif kind == 1:
                answer = channel.stream_unary("/shop.v1.Test/Collect")(iter(messages), **options)
                good = answer == str(sum(map(len, messages))).encode()
            elif kind == 2:
                good = len(list(channel.unary_stream("/shop.v1.Test/Count")(messages[0], **options))) == 20
            else:
                answers = list(channel.stream_stream("/shop.v1.Test/Chat")(iter(messages), **options))
                good = answers == [b"re: " + message for message in messages]
            if not good:
                sys.exit(f"call {number} of kind {kind} has a wrong response")
            done += 1
    print(done)


serve() if sys.argv[1] == "serve" else call()
