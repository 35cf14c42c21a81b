"""What a disarmed copy says of itself: an item of Contributing Equipment Sequence (PS3.3 C.12.1.1.5).

Whoever has the copy can tell that it is one, what it lacks and, by its digest, of what. All of it is ASCII, so that
the character set of the object does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from strongroom import __version__
from strongroom.screen.rebuild import Node, Tree

SEQUENCE: Final = 0x0018A001
_MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_MAX_DESCRIPTION_CHARS: Final = 1024
_PURPOSE: Final = 0x0040A170
_MODIFYING: Final = (
    (0x00080100, b"SH", "109103"),
    (0x00080102, b"SH", "DCM"),
    (0x00080104, b"LO", "Modifying Equipment"),
)
"""Of CID 7005: equipment that has changed an object that was there."""


def sign(tree: Tree, description: str, when: datetime | None) -> None:
    """Say in ``tree`` what was done, and when; a second call replaces what the first one said.

    Nothing is said in a directory of media, which has no such attribute, nor where the sequence that is there cannot
    be read.
    """
    if tree.text(0x00080016) == _MEDIA_DIRECTORY:
        return
    node = next((each for each in tree.elements if each.tag == SEQUENCE and not each.is_gone), None)
    if node is None:
        node = Node(SEQUENCE, b"SQ", tree.coding, "(0018,A001)", 0, 0, items=[])
        tree.elements.append(node)
    if node.items is None:
        return
    if node.items and _is_ours(node.items[-1]):
        node.items.pop()
    node.items.append(_item(node, description, when))


def describe(parts: Sequence[tuple[str, str]], original_sha256: str) -> str:
    """Return what was done in words that ST has room for: the number of parts, the original, path and rule of each."""
    words = f"Disarmed. {len(parts)} parts removed, original file SHA-256 {original_sha256}: "
    named = ", ".join(f"{path} {what.split()[0]}" if what.startswith("SR-") else path for path, what in parts)
    room = _MAX_DESCRIPTION_CHARS - len(words)
    if len(named) > room:
        named = named[: named.rfind(", ", 0, room - 4)] + " ..."
    return words + named


def _is_ours(item: list[Node]) -> bool:
    """Whether it was made here and not read: what is read stands somewhere."""
    return bool(item) and not any(node.offset for node in item)


def _item(sequence: Node, description: str, when: datetime | None) -> list[Node]:
    path = f"{sequence.path}[{len(sequence.items or ()) + 1}]"
    purpose = Node(_PURPOSE, b"SQ", sequence.inner_coding, f"{path}.(0040,A170)", 0, 0)
    purpose.items = [[_text(sequence, f"{purpose.path}[1]", *each) for each in _MODIFYING]]
    values = [
        (0x00080070, b"LO", "Strongroom"),
        (0x00081090, b"LO", "strongroom disarm"),
        (0x00181020, b"LO", __version__),
        (0x0018A003, b"ST", description),
    ]
    if when is not None:
        values.append((0x0018A002, b"DT", when.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")))
    return [*(_text(sequence, path, *each) for each in values), purpose]


def _text(sequence: Node, path: str, tag: int, vr: bytes, text: str) -> Node:
    place = f"{path}.({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return Node(tag, vr, sequence.inner_coding, place, 0, 0, content=(text.encode("ascii", "replace"),))
