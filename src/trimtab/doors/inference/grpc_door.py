"""How is the Open Inference Protocol answered over gRPC?  (`inference.GRPCInferenceService`, the extra `[grpc]`)

The same tensors, engine, contract and recorder as over HTTP; only the envelope differs. Whoever sends raw contents gets
raw contents back. Loopback only and without encryption, as the HTTP server is.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from trimtab import __version__
from trimtab.doors import guard
from trimtab.doors.desk import MAX_WAITING, THREADS, Desk, known_versions
from trimtab.doors.inference import binary, tensors
from trimtab.doors.inference.asking import SIDE, as_number, ask
from trimtab.doors.inference.routes import EXTENSIONS
from trimtab.errors import Busy, Conflict, Malformed, MissingExtra, TrimtabError

if TYPE_CHECKING:
    import grpc

_STATUS: Final = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "FAILED_PRECONDITION",
                  413: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
                  507: "RESOURCE_EXHAUSTED"}
_CONTENTS: Final = {"BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
                    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents",
                    "UINT32": "uint_contents", "UINT64": "uint64_contents", "FP32": "fp32_contents",
                    "FP64": "fp64_contents", "BYTES": "bytes_contents"}
_MAX_TOLD: Final = 20                         # violations that go along with an error: metadata are small
_QUIET_S, _LINGER_S = 0.3, 3.0
VIOLATIONS: Final = "trimtab-violations-bin"


class GrpcDoor:
    """Answers over gRPC from the desk's engine, from `start` on. Raises MissingExtra where grpcio is not installed."""

    def __init__(self, at: Desk) -> None:
        try:
            import grpc

            from trimtab.doors.inference import grpc_messages as messages
        except ImportError:
            raise MissingExtra("gRPC needs grpcio and protobuf: pip install 'trimtab[grpc]'") from None
        self._at, self._grpc, self._made = at, grpc, messages.CLASSES
        self._draining, self._last = False, 0.0
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="trimtab-grpc"),
            maximum_concurrent_rpcs=THREADS + MAX_WAITING,
            options=[("grpc.max_receive_message_length", guard.MAX_INFER_BYTES), ("grpc.so_reuseport", 0),
                     ("grpc.max_metadata_size", 16 << 10)])
        work = {"ServerLive": self._live, "ServerReady": self._ready, "ModelReady": self._model_ready,
                "ServerMetadata": self._server_metadata, "ModelMetadata": self._model_metadata,
                "ModelInfer": self._infer}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(messages.SERVICE, {
            name: grpc.unary_unary_rpc_method_handler(
                self._told(name, work[name]), request_deserializer=self._made[name + "Request"].FromString,
                response_serializer=self._made[name + "Response"].SerializeToString) for name in messages.METHODS}),))

    def start(self, host: str, port: int) -> str:
        """Listen on a loopback address; `host:port`, where 0 was taken as any. Raises Conflict where it is taken."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = int(self._server.add_insecure_port(address))
        except RuntimeError:
            bound = 0
        if not bound:
            raise Conflict(f"port {port} is taken; choose another with --grpc-port, or --grpc-port 0 for any")
        self._server.start()
        return address.removesuffix(str(port)) + str(bound)

    def stop(self, drain_s: float) -> None:
        """Refuse new calls as UNAVAILABLE until none comes for a moment, answer those that were begun, and end.

        grpcio alone cancels a call that it has accepted and not begun, which no client tries again elsewhere.
        """
        self._draining, begun = True, time.monotonic()
        while time.monotonic() - max(begun, self._last) < _QUIET_S and time.monotonic() - begun < _LINGER_S:
            time.sleep(_QUIET_S / 10)
        self._server.stop(drain_s).wait()

    def _told(self, name: str, work: Callable[[Any, grpc.ServicerContext], Any]) -> Callable[..., Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            self._last = time.monotonic()
            try:
                if self._draining:
                    raise Busy("this server is ending; ask another, or try again in a moment")
                return work(request, context)
            except TrimtabError as found:
                problem = found
            except Exception as fault:  # noqa: BLE001  this door's outermost frame
                guard.log("grpc.fault", {"method": name, "error": type(fault).__name__, "message": str(fault),
                                         "where": traceback.format_exc()})
                problem = TrimtabError("a fault of ours; the server's log says more")
            if told := problem.details.get("violations"):
                assert isinstance(told, list)
                context.set_trailing_metadata(((VIOLATIONS, msgspec.json.encode(told[:_MAX_TOLD])[:4096]),))
            return context.abort(self._grpc.StatusCode[_STATUS.get(problem.answer.http, "INTERNAL")], str(problem))

        return call

    def _live(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._made["ServerLiveResponse"](live=True)

    def _ready(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._made["ServerReadyResponse"](ready=self._at.engine.state.ready)

    def _model_ready(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._at.engine.bundle(request.name, _number(request.version))
        return self._made["ModelReadyResponse"](ready=True)

    def _server_metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._made["ServerMetadataResponse"](name="trimtab", version=__version__, extensions=EXTENSIONS)

    def _model_metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        bundle = self._at.engine.bundle(request.name, _number(request.version))
        try:
            versions = list(known_versions(self._at, request.name))
        except TrimtabError:                  # the store is away: what is live is known
            versions = [bundle.number]
        told = tensors.metadata(bundle, request.name, versions)
        tensor = self._made["ModelMetadataResponse.TensorMetadata"]
        return self._made["ModelMetadataResponse"](
            name=told["name"], versions=told["versions"], platform=told["platform"],
            **{side: [tensor(name=one["name"], datatype=one["datatype"], shape=one["shape"]) for one in told[side]]
               for side in ("inputs", "outputs")})

    def _infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        wanted = _read(request)
        side = next((value for key, value in context.invocation_metadata() if key == SIDE), None)
        answer = ask(self._at.engine, request.model_name, _number(request.model_version),
                     lambda bundle: tensors.rows_for(wanted, bundle), side)
        context.set_trailing_metadata(((SIDE, answer.stage),))
        return self._written(tensors.answer_json(answer, wanted), raw=bool(request.raw_input_contents))

    def _written(self, answer: dict[str, Any], *, raw: bool) -> Any:
        made = self._made["ModelInferResponse"](
            model_name=answer["model_name"], model_version=answer["model_version"], id=answer.get("id", ""))
        _tell(made.parameters, answer["parameters"])
        for output in answer["outputs"]:
            one = made.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
            _tell(one.parameters, output.get("parameters", {}))
            values = output["data"]
            if raw:
                made.raw_output_contents.append(binary.pack(output["datatype"], values))
                continue
            if output["datatype"] == "BYTES":
                values = [value.encode() for value in values]
            elif output["datatype"] == "FP64":
                values = [float("nan") if value is None else value for value in values]
            getattr(one.contents, _CONTENTS[output["datatype"]]).extend(values)
        return made


def _read(request: Any) -> tensors.InferRequest:
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise Malformed(f"raw_input_contents: {len(raw)} tensors for {len(request.inputs)} inputs")
    inputs = []
    for place, tensor in enumerate(request.inputs):
        name, shape = tensor.name[:80], list(tensor.shape)
        if tensor.datatype not in get_args(tensors.Datatype):
            raise Malformed(f"{name}: datatype {tensor.datatype[:20]!r} is none of "
                            f"{', '.join(get_args(tensors.Datatype))}", field=name)
        if raw and tensor.HasField("contents"):
            raise Malformed(f"{name}: send contents or raw_input_contents, not both", field=name)
        data = binary.unpack(name, tensor.datatype, shape, raw[place]) if raw else _contents(name, tensor)
        inputs.append(tensors.Tensor(name=tensor.name, shape=shape, datatype=tensor.datatype, data=data))
    wanted = [tensors.Wanted(name=output.name) for output in request.outputs]
    return tensors.InferRequest(inputs=inputs, id=request.id or None, outputs=wanted or None)


def _contents(name: str, tensor: Any) -> list[Any]:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise Malformed(f"{name}: {tensor.datatype} can only be sent as raw_input_contents", field=name)
    if other := [one.name for one, _ in tensor.contents.ListFields() if one.name != field]:
        raise Malformed(f"{name}: {tensor.datatype} goes into {field}, not {other[0]}", field=name)
    values = list(getattr(tensor.contents, field))
    if tensor.datatype == "BYTES":
        try:
            return [value.decode() for value in values]
        except UnicodeDecodeError:
            raise Malformed(f"{name}: an element is not UTF-8", field=name) from None
    return [None if value != value else value for value in values]


def _tell(parameters: Any, told: dict[str, Any]) -> None:
    """Values as the protocol's parameters; a list as its JSON."""
    for name, value in told.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}.get(type(value))
        setattr(parameters[name], kind or "string_param", value if kind else msgspec.json.encode(value).decode())


def _number(version: str) -> int | None:
    return as_number(version) if version else None
