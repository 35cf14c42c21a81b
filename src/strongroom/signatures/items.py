"""Small values of an item of a data set that lies somewhere else: text, numbers, tags and times."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from struct import Struct
from typing import Final

from strongroom.signatures.contents import Contents, Node

_MOST_BYTES: Final = 131072
_MOST_TEXT: Final = 64
_DATE_TIME: Final = re.compile(r"(?P<seconds>\d{14})(\.\d{1,6})?(?P<zone>([+-]\d{4})?)")


class Item:
    """The small values of one item, by tag; the first of several counts."""

    def __init__(self, contents: Contents, elements: Sequence[Node]) -> None:
        self._contents = contents
        self.elements = elements

    def _node(self, tag: int) -> Node | None:
        return next((node for node in self.elements if node.tag == tag), None)

    def value(self, tag: int) -> bytes:
        """As encoded, b"" if it is not there or no value. Raises LimitExceeded for one over 128 KiB."""
        node = self._node(tag)
        if node is None or node.items is not None or node.is_encapsulated:
            return b""
        return self._contents.value(node, _MOST_BYTES)

    def items(self, tag: int) -> list[list[Node]]:
        """The items of a sequence, none if it is not there."""
        node = self._node(tag)
        return node.items or [] if node is not None else []

    def text(self, tag: int) -> str:
        """Of a UID, code or time, without padding and fit to be printed."""
        raw = self.value(tag)[:_MOST_TEXT].decode("ascii", "replace").strip(" \0")
        return "".join(each if each.isprintable() else "\ufffd" for each in raw)

    def number(self, tag: int) -> int:
        """Of a US; -1 if it is none."""
        node, raw = self._node(tag), self.value(tag)
        return self._words(node, raw)[0] if node is not None and len(raw) == 2 else -1

    def tags(self, tag: int) -> Iterator[int]:
        """Of an AT."""
        node = self._node(tag)
        if node is not None:
            words = self._words(node, self.value(tag))
            for group, element in zip(words[::2], words[1::2], strict=False):
                yield group << 16 | element

    @staticmethod
    def _words(node: Node, raw: bytes) -> tuple[int, ...]:
        order = node.coding.long_length.format[:1]
        whole = len(raw) - len(raw) % 2
        return Struct(f"{order}{whole // 2}H").unpack_from(raw)


def parse_date_time(text: str) -> datetime | None:
    """Return a DICOM date time (DT) that has seconds at least, None if it is none. Without a zone it is UTC."""
    matched = _DATE_TIME.fullmatch(text)
    if matched is None:
        return None
    sign, hours, minutes = matched["zone"][:1], matched["zone"][1:3], matched["zone"][3:]
    try:
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
        return datetime.strptime(matched["seconds"], "%Y%m%d%H%M%S").replace(tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
