"""The Capabilities Description holds every operation below the root, and its two forms say the same."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from strongroom.web import wadl
from strongroom.web.operation import PREFIX
from strongroom.web.operations import OPERATIONS

BASE = "https://archive.example:8443/dicomweb"
DOCUMENT = wadl.capabilities(OPERATIONS, BASE)


def found_in(parent: ElementTree.Element, path: str = "") -> dict[str, tuple[str, str]]:
    """Method and path of every method by its id."""
    found = {}
    for child in parent:
        if child.tag.endswith("resource"):
            below = f"{path}/{child.get('path')}"
            for method in child:
                if method.tag.endswith("method"):
                    found[method.get("id", "")] = (method.get("name", ""), below)
            found |= found_in(child, below)
    return found


def test_every_operation_below_the_root_is_there() -> None:
    document = ElementTree.fromstring(wadl.as_xml(DOCUMENT))
    assert document.tag == f"{{{wadl.NAMESPACE}}}application"
    assert len(document) == 1
    assert document[0].get("base") == BASE
    expected = {
        operation.name: (operation.method, operation.path.removeprefix(PREFIX).replace(":path", ""))
        for operation in OPERATIONS
        if operation.path.startswith(f"{PREFIX}/") and operation.method != "OPTIONS"
    }
    assert found_in(document[0]) == expected


def test_the_json_form_is_the_xml_form() -> None:
    """PS3.18 G.1: the conversion is lossless both ways."""

    def rebuilt(tag: str, members: dict[str, Any]) -> ElementTree.Element:
        attributes = {name[1:]: value for name, value in members.items() if name.startswith("@")}
        element = ElementTree.Element(tag, attributes)
        for name, value in members.items():
            if not name.startswith("@"):
                element.extend(rebuilt(name, each) for each in (value if isinstance(value, list) else [value]))
        return element

    def plain(element: ElementTree.Element) -> tuple[Any, ...]:
        # Between elements of different names the order is not said in JSON.
        return element.tag, element.attrib, sorted((plain(child) for child in element), key=repr)

    (pair,) = wadl.as_json(DOCUMENT).items()
    assert plain(rebuilt(*pair)) == plain(DOCUMENT)
