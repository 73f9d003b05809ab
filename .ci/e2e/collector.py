"""An OpenTelemetry collector that decodes exports with the protocol's own library:
`collector.py http|grpc|https|grpcs SPANS_FILE PAIR`.

It writes one JSON object a span. Over TLS it presents PAIR.crt with PAIR.key. It refuses the first export, with 503 or
UNAVAILABLE, so that the client must send it again.
"""

import concurrent.futures
import http.server
import json
import pathlib
import ssl
import sys

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

import peer

kind, spans_file, pair = sys.argv[1:4]
refused = False


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


def store(request):
    with open(spans_file, "a") as file:
        for resource_spans in request.resource_spans:
            resource = attributes(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    row = {
                        "trace": span.trace_id.hex(), "id": span.span_id.hex(), "parent": span.parent_span_id.hex(),
                        "state": span.trace_state, "name": span.name, "kind": span.kind, "flags": span.flags,
                        "from": span.start_time_unix_nano, "to": span.end_time_unix_nano, "status": span.status.code,
                        "attributes": attributes(span.attributes), "resource": resource,
                        "scope": scope_spans.scope.name,
                    }
                    file.write(json.dumps(row) + "\n")


def is_first() -> bool:
    global refused
    was, refused = refused, True
    return not was


class Http(peer.Handler):
    def answer(self):
        body, _ = self.body()
        good = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
        status = 503 if is_first() else 200 if good and self.headers["x-token"] == "secret" else 400
        if status == 200:
            store(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
        response = trace_service_pb2.ExportTraceServiceResponse().SerializeToString()
        self.respond(status, response, content_type="application/x-protobuf")


if kind.startswith("http"):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http)
    if kind == "https":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair + ".crt", pair + ".key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    peer.publish(server.server_port)
    server.serve_forever()
else:
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

    class Grpc(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):
            if is_first():
                context.abort(grpc.StatusCode.UNAVAILABLE, "later")
            if dict(context.invocation_metadata()).get("x-token") != "secret":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
            store(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Grpc(), server)
    if kind == "grpcs":
        key, crt = (pathlib.Path(pair + end).read_bytes() for end in (".key", ".crt"))
        peer.publish(server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, crt)])))
    else:
        peer.publish(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()
