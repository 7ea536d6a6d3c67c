"""What do the messages of `inference.GRPCInferenceService` look like?

The messages of the Open Inference Protocol that this server speaks, field by field with their public numbers; classes
are made of the table when this module is loaded. So there is no generated code that only one release of protobuf takes,
and the descriptors live in a pool of their own, beside another client's of the same names in one process.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "inference"
SERVICE: Final = f"{PACKAGE}.GRPCInferenceService"
_Field = descriptor_pb2.FieldDescriptorProto

# message: {field: (number, type)}; "[]" is repeated, "{}" a map from strings, "|" one of a choice.
_TENSOR: Final = {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64[]"),
                      "parameters": (4, "InferParameter{}"), "contents": (5, "InferTensorContents")}
MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "ServerLiveRequest": {}, "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {}, "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": (1, "string"), "version": (2, "string"), "extensions": (3, "string[]")},
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelMetadataResponse.TensorMetadata": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64[]")},
    "ModelMetadataResponse": {
        "name": (1, "string"), "versions": (2, "string[]"), "platform": (3, "string"),
        "inputs": (4, "ModelMetadataResponse.TensorMetadata[]"),
        "outputs": (5, "ModelMetadataResponse.TensorMetadata[]")},
    "InferParameter": {"bool_param": (1, "bool|"), "int64_param": (2, "int64|"), "string_param": (3, "string|"),
                       "double_param": (4, "double|"), "uint64_param": (5, "uint64|")},
    "InferTensorContents": {
        "bool_contents": (1, "bool[]"), "int_contents": (2, "int32[]"), "int64_contents": (3, "int64[]"),
        "uint_contents": (4, "uint32[]"), "uint64_contents": (5, "uint64[]"), "fp32_contents": (6, "float[]"),
        "fp64_contents": (7, "double[]"), "bytes_contents": (8, "bytes[]")},
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, "InferParameter{}")},
    "ModelInferRequest": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"),
        "parameters": (4, "InferParameter{}"), "inputs": (5, "ModelInferRequest.InferInputTensor[]"),
        "outputs": (6, "ModelInferRequest.InferRequestedOutputTensor[]"), "raw_input_contents": (7, "bytes[]")},
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "ModelInferResponse": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"),
        "parameters": (4, "InferParameter{}"), "outputs": (5, "ModelInferResponse.InferOutputTensor[]"),
        "raw_output_contents": (6, "bytes[]")},
}
METHODS: Final = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")


def _describe(into: Any, full: str, fields: dict[str, tuple[int, str]]) -> None:
    """Fill a message's descriptor."""
    into.name = full.split(".")[-1]
    for name, (number, kind) in fields.items():
        one = into.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
        if kind.endswith(("[]", "{}")):
            one.label = _Field.LABEL_REPEATED
        if kind.endswith("{}"):
            entry = into.nested_type.add(name=name.capitalize() + "Entry")
            entry.options.map_entry = True
            _describe(entry, entry.name, {"key": (1, "string"), "value": (2, kind[:-2])})
            kind = f"{full}.{entry.name}"
        if kind.endswith("|"):
            if not into.oneof_decl:
                into.oneof_decl.add(name="parameter_choice")
            one.oneof_index = 0
        kind = kind.removesuffix("[]").removesuffix("|")
        if kind[0].isupper():
            one.type, one.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
        else:
            one.type = getattr(_Field, "TYPE_" + kind.upper())


def _place(file: Any, full: str) -> Any:
    """Where a message is described: in the file, or in the message that its name begins with."""
    outer, _, inner = full.partition(".")
    found = next((one for one in file.message_type if one.name == outer), None)
    found = file.message_type.add(name=outer) if found is None else found
    return found.nested_type.add() if inner else found


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    for full, fields in MESSAGES.items():
        _describe(_place(file, full), full, fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {full: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{full}")) for full in MESSAGES}


CLASSES: Final = _classes()
