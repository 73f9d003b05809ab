"""gRPC calls of every kind through the proxy: `grpc_check.py ADDRESS [ROOTS]`; with ROOTS over TLS. Prints how many checks
passed."""

import sys
import threading
import time

import grpc

import peer

target, roots = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
LARGE = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]
if roots:
    with open(roots, "rb") as file:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(file.read()), options=LARGE)
else:
    channel = grpc.insecure_channel(target, options=LARGE)

SERVICE = "/shop.v1.Test/"
kinds = {
    "Collect": channel.stream_unary,
    "Count": channel.unary_stream,
    "Chat": channel.stream_stream,
}
checks = peer.Checks()
expect = checks.expect


def method(name):
    return kinds.get(name, channel.unary_unary)(name if name.startswith("/") else SERVICE + name)


def failure(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeds")


expect("unary", b"hello", method("Unary")(b"hello", timeout=10))
expect("an empty message", b"", method("Unary")(b"", timeout=10))
large = bytes(range(256)) * (4 << 12)
expect("4 MiB each way", large, method("Unary")(large, timeout=30))

metadata = [("x-text", "plain"), ("x-raw-bin", bytes(range(256))), ("x-twice", "a"), ("x-twice", "b")]
reply, call = method("Unary").with_call(b"abc", timeout=10, metadata=metadata)
initial = [(key, value) for key, value in call.initial_metadata() if key.startswith("x-") and key != "x-request-id"]
expect("metadata", sorted(metadata), sorted(pair for pair in initial if pair[0] in dict(metadata)))
trailing = dict(call.trailing_metadata())
expect("binary metadata in trailers", bytes(range(256)), trailing["x-raw-bin"])
expect("trailers", "3", trailing["x-seen"])

expect("client streaming", b"5050000", method("Collect")((b"x" * n * 1000 for n in range(1, 101)), timeout=30))
expect("server streaming", [str(n).encode() for n in range(500)], list(method("Count")(b"500", timeout=30)))
expect("an empty stream", [], list(method("Count")(b"0", timeout=10)))

turns, answers = threading.Semaphore(1), []


def talk():
    for number in range(50):
        turns.acquire()
        yield str(number).encode()


for answer in method("Chat")(talk(), timeout=30):
    answers.append(answer)
    turns.release()
expect("bidirectional, one after the other", [b"re: %d" % number for number in range(50)], answers)

for code in grpc.StatusCode:
    if code is grpc.StatusCode.OK:
        continue
    error = failure(lambda: method("Status")(str(code.value[0]).encode(), timeout=10))
    expect("a status", (code, "as requested: 100 % schön"), (error.code(), error.details()))

before = int(method("Cancellations")(b"", timeout=10))
remaining = float(method("Deadline")(b"", timeout=5))
expect("the server receives the deadline", (True, remaining), (3 < remaining < 6, remaining))
begun = time.monotonic()
error = failure(lambda: method("Sleep")(b"", timeout=0.5))
expect("a deadline", grpc.StatusCode.DEADLINE_EXCEEDED, error.code())
expect("in time", True, 0.4 < time.monotonic() - begun < 3)
call = method("Sleep").future(b"", timeout=30)
time.sleep(0.3)
call.cancel()
end = time.monotonic() + 10
while int(method("Cancellations")(b"", timeout=10)) < before + 2:
    assert time.monotonic() < end, "the server does not notice two cancelled calls"
    time.sleep(0.05)

error = failure(lambda: method("/shop.v1.Unknown/Method")(b"", timeout=10))
expect("no route", grpc.StatusCode.UNIMPLEMENTED, error.code())
expect("the message of a call without a route", True, bool(error.details()))
error = failure(lambda: method("/shop.v1.Gone/Method")(b"", timeout=10))
expect("no upstream", grpc.StatusCode.UNAVAILABLE, error.code())
error = failure(lambda: method("/shop.v1.Closed/Method")(b"", timeout=10))
expect("a local response", (grpc.StatusCode.UNAVAILABLE, "closed: 100 % schön"), (error.code(), error.details()))

calls = [method("Unary").future(str(number).encode(), timeout=30) for number in range(500)]
expect("500 at once", [str(number).encode() for number in range(500)], [call.result() for call in calls])
print(checks.passed)
