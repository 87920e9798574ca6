"""The service's interface over plain grpcio, from the project's proto files.

They are compiled when first needed, to descriptors in memory: no generated code, and no name that another package could have.
"""
import functools
import tempfile
from importlib import resources
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"
SERVICES = ("lrs.v1.LearningRateService", "lrs.v1.JobService")


class LrsError(RuntimeError):
    """The service refused, could not be reached, or did not answer; says which and why."""


@functools.cache
def pool():
    """The descriptors of all proto files."""
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors"
        known = resources.files("grpc_tools") / "_proto"
        command = ["protoc", f"-I{PROTO}", f"-I{known}", "--include_imports", f"--descriptor_set_out={out}", *files]
        if protoc.main(command) != 0:
            raise LrsError(f"the proto files in {PROTO} cannot be compiled")
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    made = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        made.Add(file)
    return made


@functools.cache
def message(name):
    """The class of a message of `lrs.v1`."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"lrs.v1.{name}"))


@functools.cache
def method(name):
    """The path of a method, its descriptor, and the classes of its request and response."""
    for service in SERVICES:
        found = pool().FindServiceByName(service).methods_by_name.get(name)
        if found is not None:
            classes = (message_factory.GetMessageClass(each) for each in (found.input_type, found.output_type))
            return (f"/{service}/{name}", *classes)
    raise LrsError(f"the service has no method {name}")


class Connection:
    """A connection to a server."""

    def __init__(self, address, timeout_s=30.0):
        self.address, self.timeout_s = address, timeout_s
        # One of its own, not shared with other connections of this process.
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])

    def call(self, name, /, **fields):
        """Calls a method with a request of these fields, and waits for its answer."""
        path, request, response = method(name)
        call = self.channel.unary_unary(path, request.SerializeToString, response.FromString)
        try:
            return call(request(**fields), timeout=self.timeout_s)
        except grpc.RpcError as error:
            raise self.failed(name, error) from None

    def stream(self, name, requests):
        """Opens a method that is a stream both ways: an iterator over its answers."""
        path, request, response = method(name)
        return self.channel.stream_stream(path, request.SerializeToString, response.FromString)(requests)

    def failed(self, name, error):
        return LrsError(f"{name} at {self.address} failed: {error.code().name}: {error.details()}")

    def close(self):
        self.channel.close()
