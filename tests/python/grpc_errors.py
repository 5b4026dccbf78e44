"""Bad input over gRPC: each gets the status that OTLP defines, and a sentence."""

import argparse

import grpc
import zlib
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    args = parser.parse_args()
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(args.endpoint, options) as channel:
        whole = logs("whole")
        refused(channel, LOGS, whole[:-3], grpc.StatusCode.INVALID_ARGUMENT, "resource_logs")
        refused(channel, LOGS, b"\x08\x96\x01" * 3, grpc.StatusCode.INVALID_ARGUMENT, "resource_logs")
        refused(channel, LOGS, logs("x" * 100_000_000), grpc.StatusCode.RESOURCE_EXHAUSTED, "limit")
        refused(channel, "/no.such.Service/Export", whole, grpc.StatusCode.UNIMPLEMENTED, "")
        refused(channel, LOGS, whole, grpc.StatusCode.INVALID_ARGUMENT, "X-Scope-OrgID",
                metadata=(("x-scope-orgid", "no/such/name"),))
        # A bomb: 200 MB of zeros in a gzip frame.
        bomb(channel)
        partial(channel)
        # After all that, the same connection still works.
        answer = ExportLogsServiceResponse.FromString(export(channel, LOGS, whole))
        assert not answer.partial_success.ListFields(), answer
    print("all answered as OTLP defines")


def logs(text):
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    service = resource.resource.attributes.add(key="service.name")
    service.value.string_value = "grpc.errors"
    resource.scope_logs.add().log_records.add(time_unix_nano=1).body.string_value = text
    return request.SerializeToString()


def export(channel, method, body, compression=None, metadata=None):
    call = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
    return call(body, timeout=60, compression=compression, metadata=metadata)


def refused(channel, method, body, code, words, compression=None, metadata=None):
    try:
        export(channel, method, body, compression, metadata)
    except grpc.RpcError as error:
        told = f"{error.code()} with {error.details()!r}"
        assert error.code() == code, f"{told} instead of {code}"
        assert words in error.details(), f"{told}, which does not say {words!r}"
        return
    raise AssertionError(f"{len(body)} bytes to {method} were taken instead of {code}")


def bomb(channel):
    body = logs("a" * 200_000_000)
    assert len(zlib.compress(body)) < 1_000_000
    refused(channel, LOGS, body, grpc.StatusCode.RESOURCE_EXHAUSTED, "limit", grpc.Compression.Gzip)


def partial(channel):
    """One span of three has a short id: the others are kept, and the answer says so."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    service = resource.resource.attributes.add(key="service.name")
    service.value.string_value = "grpc.errors"
    scoped = resource.scope_spans.add()
    for n, trace_id in enumerate((bytes(range(16)), bytes(15), bytes(range(1, 17)))):
        scoped.spans.add(trace_id=trace_id, span_id=bytes(range(1, 9)), name=f"span {n}",
                         start_time_unix_nano=1, end_time_unix_nano=2)
    answer = ExportTraceServiceResponse.FromString(export(channel, TRACES, request.SerializeToString()))
    assert answer.partial_success.rejected_spans == 1, answer
    assert "trace_id" in answer.partial_success.error_message, answer


if __name__ == "__main__":
    main()
