"""The OpenAPI 3.1 description of the service, made of the table of operations. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from strongroom import __version__
from strongroom.archive.tokens import RIGHTS
from strongroom.types import Right
from strongroom.web.operation import COMMON_STATUSES, Operation
from strongroom.web.problem import MEDIA_TYPE

Json = dict[str, Any]

_VARIABLE: Final = re.compile(r"\{(\w+)(:path)?\}")
_UID: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}
_NAMED_BY_OPENAPI: Final = frozenset({"accept", "content-type", "authorization"})
"""Headers that OpenAPI describes by responses, request body and security, and ignores as parameters."""

_HAS_NO_BODY: Final = frozenset({204, 304, 412, 416})
_SEVERAL_RANGES: Final = "multipart/byteranges"
_DICOM_JSON: Final = "application/dicom+json"
_JSON: Final = frozenset({_DICOM_JSON, "application/json"})

_SCHEMAS: Final[Json] = {
    "Problem": {
        "description": "What went wrong (RFC 9457).",
        "type": "object",
        "required": ["status", "title"],
        "properties": {
            "status": {"type": "integer"},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "limit": {"type": "string", "description": "The key of [limits] that was passed."},
            "available": {"type": "array", "items": {"type": "string"}, "description": "Media types that can be sent."},
            "supported": {"type": "array", "items": {"type": "string"}, "description": "Media types that are taken."},
        },
    },
    "DataSet": {
        "description": "A data set in the DICOM JSON Model (PS3.18 F.2).",
        "type": "object",
        "patternProperties": {"^[0-9A-F]{8}$": {"$ref": "#/components/schemas/Attribute"}},
        "additionalProperties": False,
    },
    "Attribute": {
        "type": "object",
        "required": ["vr"],
        "properties": {
            "vr": {"type": "string", "pattern": "^[A-Z]{2}$"},
            "Value": {"type": "array"},
            "BulkDataURI": {"type": "string"},
            "InlineBinary": {"type": "string"},
        },
        "additionalProperties": False,
    },
    "DicomJson": {
        "anyOf": [
            {"$ref": "#/components/schemas/DataSet"},
            {"type": "array", "items": {"$ref": "#/components/schemas/DataSet"}},
        ]
    },
}


def describe(operations: Iterable[Operation]) -> Json:
    """Return the description of ``operations``: one path item for each path, one operation object for each of them."""
    paths: dict[str, Json] = {}
    for operation in operations:
        path = _VARIABLE.sub(r"{\1}", operation.path)
        item = paths.setdefault(path, {})
        item[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Strongroom DICOMweb",
            "version": __version__,
            "summary": "The Studies Service of DICOM PS3.18, and what stands beside it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Of `strongroom token`, or a JWT."},
                "certificate": {"type": "mutualTLS", "description": "That of a registered peer."},
            },
        },
    }


def _operation(operation: Operation) -> Json:
    described: Json = {"operationId": operation.name, "summary": operation.summary}
    if operation.public:
        described["security"] = []
    elif operation.right is not None:
        described["description"] = " ".join(filter(None, (operation.more, _right_taken(operation.right))))
    parameters = [*_path_parameters(operation), *_other_parameters(operation)]
    if parameters:
        described["parameters"] = parameters
    if operation.consumes:
        taken: Json = {media_type: {} for media_type in operation.consumes}
        described["requestBody"] = {"required": True, "content": taken}
    statuses = sorted({*operation.statuses, *COMMON_STATUSES})
    described["responses"] = {str(status): _response(operation, status) for status in statuses}
    return described


def _right_taken(right: Right) -> str:
    """Under both its names: peers have the rights of DIMSE, tokens those of ``strongroom token add --allow``."""
    word = next(word for word, granted in RIGHTS.items() if granted is right)
    return f"Takes the right {right.value}" + (f", of a token {word}." if word != right.value else ".")


def _path_parameters(operation: Operation) -> list[Json]:
    uids = {"study", "series", "instance"}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _UID if name in uids else {"type": "string", "minLength": 1},
        }
        for name, _ in _VARIABLE.findall(operation.path)
    ]


def _other_parameters(operation: Operation) -> list[Json]:
    return [
        {
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.required,
            "description": parameter.description,
            "schema": dict(parameter.schema),
        }
        for parameter in operation.parameters
        if not (parameter.place == "header" and parameter.name.lower() in _NAMED_BY_OPENAPI)
    ]


def _response(operation: Operation, status: int) -> Json:
    response: Json = {"description": HTTPStatus(status).phrase}
    if status in _HAS_NO_BODY:
        return response
    content: Json = {}
    # A store that failed says so instance by instance, in the form of its success (PS3.18 10.5.3).
    if status < 400 or operation.consumes:
        dicom = {"schema": {"$ref": "#/components/schemas/DicomJson"}} if _DICOM_JSON in operation.produces else {}
        content |= {media_type: dicom if media_type in _JSON else {} for media_type in operation.produces}
    if status == 206:
        content[_SEVERAL_RANGES] = {}
    if status >= 400:
        content[MEDIA_TYPE] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    if content:
        response["content"] = content
    return response
