"""An OpenTelemetry collector that decodes what it gets with the protocol's own library:
`collector.py http|grpc|https|grpcs PORT_FILE SPANS_FILE PAIR`. One JSON object a span. Under TLS it presents PAIR.crt, with
PAIR.key. Over gRPC the first export is refused as
UNAVAILABLE, over HTTP with 503: both are to be sent again.
"""

import concurrent.futures
import http.server
import json
import os
import pathlib
import ssl
import sys

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

kind, port_file, spans_file, pair = sys.argv[1:5]
refused = False


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


def take(request):
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


def tell(port):
    pathlib.Path(port_file + ".new").write_text(str(port))
    os.rename(port_file + ".new", port_file)


def first() -> bool:
    global refused
    was, refused = refused, True
    return not was


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        good = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
        status = 503 if first() else 200 if good and self.headers["x-token"] == "secret" else 400
        if status == 200:
            take(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
        answer = trace_service_pb2.ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if kind.startswith("http"):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http)
    if kind == "https":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair + ".crt", pair + ".key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    tell(server.server_port)
    server.serve_forever()
else:
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

    class Grpc(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):
            if first():
                context.abort(grpc.StatusCode.UNAVAILABLE, "later")
            if dict(context.invocation_metadata()).get("x-token") != "secret":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
            take(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Grpc(), server)
    if kind == "grpcs":
        key, crt = (pathlib.Path(pair + end).read_bytes() for end in (".key", ".crt"))
        tell(server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, crt)])))
    else:
        tell(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()
