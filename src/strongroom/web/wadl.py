"""The Capabilities Description of the service: WADL as XML or JSON (DICOM PS3.18 8.9, annexes G and H). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from strongroom.web.operation import COMMON_STATUSES, PREFIX, Operation

NAMESPACE = "http://wadl.dev.java.net/2009/02"
XML, JSON = "application/vnd.sun.wadl+xml", "application/json"

_UNIQUE = frozenset({"request", "resources"})
"""Elements that occur once in their parent: objects in JSON, all others are arrays (PS3.18 G.2)."""


@dataclass(slots=True)
class _Resource:
    """One step of a path, and what may follow it."""

    operations: list[Operation] = field(default_factory=list)
    children: dict[str, _Resource] = field(default_factory=dict)


def capabilities(operations: Iterable[Operation], base_url: str) -> Element:
    """Return the description of everything below the root of the service (PS3.18 H)."""
    root = _Resource()
    for operation in operations:
        if operation.method != "OPTIONS" and operation.path.startswith(f"{PREFIX}/"):
            resource = root
            for part in operation.path.removeprefix(f"{PREFIX}/").split("/"):
                resource = resource.children.setdefault(part.replace(":path", ""), _Resource())
            resource.operations.append(operation)
    application = Element("application", xmlns=NAMESPACE)
    resources = SubElement(application, "resources", base=base_url)
    for path, child in root.children.items():
        _add(resources, path, child)
    return application


def _add(parent: Element, path: str, resource: _Resource) -> None:
    element = SubElement(parent, "resource", path=path)
    if path.startswith("{"):
        _param(element, path[1:-1], "template", required=True)
    for operation in resource.operations:
        method = SubElement(element, "method", name=operation.method, id=operation.name)
        SubElement(method, "doc", {"xml:lang": "en", "title": operation.summary})
        request = SubElement(method, "request")
        for parameter in operation.parameters:
            _param(request, parameter.name, parameter.place, required=parameter.required)
        _representations(request, operation.consumes)
        for status in sorted({*operation.statuses, *COMMON_STATUSES}):
            response = SubElement(method, "response", status=str(status))
            if status < 300 and status != 204:
                _representations(response, operation.produces)
    for name, child in resource.children.items():
        _add(element, name, child)


def _param(parent: Element, name: str, style: str, *, required: bool) -> None:
    SubElement(parent, "param", name=name, style=style, required=str(required).lower())


def _representations(parent: Element, media_types: Sequence[str]) -> None:
    for media_type in media_types:
        SubElement(parent, "representation", mediaType=media_type)


def as_xml(element: Element) -> bytes:
    """Return the document as XML."""
    document: bytes = tostring(element, encoding="utf-8", xml_declaration=True)
    return document


def as_json(element: Element) -> dict[str, Any]:
    """Return the document in its JSON representation (PS3.18 G.2): attributes with an @ before their names."""
    return {element.tag: _members(element)}


def _members(element: Element) -> dict[str, Any]:
    members: dict[str, Any] = {f"@{name}": value for name, value in element.attrib.items()}
    for child in element:
        if child.tag in _UNIQUE:
            members[child.tag] = _members(child)
        else:
            members.setdefault(child.tag, []).append(_members(child))
    return members
