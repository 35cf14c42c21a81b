"""The Merkle tree of RFC 9162 section 2.1 (the same hashes as RFC 6962), with SHA-256. Pure.

``Leaves`` gives leaf hashes by range, so that a proof over millions of records needs a log's depth of memory only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final

from strongroom.errors import IntegrityError, LocalProtocolError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
MAX_SIZE: Final = 2**63 - 1

Leaves = Callable[[int, int], Iterable[bytes]]
"""Given (start, stop), the leaf hashes of exactly these positions, in order."""


def leaf_hash(data: bytes) -> bytes:
    """Return the 32-byte hash of a leaf that holds ``data`` (RFC 9162 2.1.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of the node above two 32-byte hashes (RFC 9162 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its full subtrees, largest first, one per set bit of its size.

    Enough to append and to tell the root: at most log2(size) + 1 hashes. Not thread-safe.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    @classmethod
    def parse(cls, raw: bytes) -> Frontier:
        """Return the frontier that ``to_bytes`` wrote. Raises IntegrityError if it is none."""
        size = int.from_bytes(raw[:8], "big")
        if not 0 <= size <= MAX_SIZE or len(raw) != 8 + HASH_BYTES * size.bit_count():
            raise IntegrityError(f"not a tree frontier ({len(raw)} bytes)")
        frontier = cls()
        frontier.size = size
        frontier._peaks = [raw[at : at + HASH_BYTES] for at in range(8, len(raw), HASH_BYTES)]
        return frontier

    def to_bytes(self) -> bytes:
        """Return the size in 8 bytes, big end first, and the hashes, largest subtree first."""
        return self.size.to_bytes(8, "big") + b"".join(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add one 32-byte leaf hash: one node hash on average, log2(size) at most."""
        peaks = self._peaks
        full = self.size
        while full & 1:
            leaf = sha256(b"\x01" + peaks.pop() + leaf).digest()
            full >>= 1
        peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the tree's root hash; EMPTY_ROOT if nothing was appended."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes, taken one by one (RFC 9162 2.1.1)."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(leaves: Leaves, index: int, size: int) -> list[bytes]:
    """Return the hashes that lead from leaf ``index`` to the root of the first ``size`` leaves, lowest first.

    Reads every leaf once. Raises LocalProtocolError unless 0 <= index < size. RFC 9162 2.1.3.1.
    """
    if not 0 <= index < size:
        raise LocalProtocolError(f"no leaf {index} in a tree of {size}")
    siblings: list[tuple[int, int]] = []
    start, stop = 0, size
    while stop - start > 1:
        split = start + _left_width(stop - start)
        if index < split:
            siblings.append((split, stop))
            stop = split
        else:
            siblings.append((start, split))
            start = split
    return [root_of(leaves(*part)) for part in reversed(siblings)]


def consistency_proof(leaves: Leaves, old_size: int, new_size: int) -> list[bytes]:
    """Return the hashes that show the tree of ``old_size`` leaves to be the beginning of that of ``new_size``.

    Reads every leaf once. Raises LocalProtocolError unless 0 <= old_size <= new_size. RFC 9162 2.1.4.1.
    """
    if not 0 <= old_size <= new_size:
        raise LocalProtocolError(f"a tree of {new_size} is not older than one of {old_size}")
    if old_size in (0, new_size):
        return []
    parts: list[tuple[int, int]] = []
    start, stop = 0, new_size
    while stop != old_size:
        split = start + _left_width(stop - start)
        if old_size <= split:
            parts.append((split, stop))
            stop = split
        else:
            parts.append((start, split))
            start = split
    if start > 0:  # else this part is the whole old tree, whose root the verifier has
        parts.append((start, stop))
    return [root_of(leaves(*part)) for part in reversed(parts)]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether ``proof`` leads from the hash ``leaf`` at ``index`` to ``root`` over ``size`` leaves.

    RFC 9162 2.1.3.2. Works through at most 64 hashes, whatever the proof's length.
    """
    if not 0 <= index < size <= MAX_SIZE or not _well_formed(proof):
        return False
    position, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and node == root


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether ``proof`` shows the tree of ``old_root`` to be the beginning of that of ``new_root``.

    RFC 9162 2.1.4.2; the empty tree is the beginning of every tree.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE or not _well_formed(proof):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        return False
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old_node = node_hash(sibling, old_node)
            new_node = node_hash(sibling, new_node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new_node = node_hash(new_node, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and old_node == old_root and new_node == new_root


def _left_width(size: int) -> int:
    """Return the largest power of two smaller than ``size``, which is 2 or more."""
    return 1 << ((size - 1).bit_length() - 1)


def _well_formed(proof: Sequence[bytes]) -> bool:
    return len(proof) <= 64 and all(len(item) == HASH_BYTES for item in proof)
