"""The Merkle tree against the published vectors, and its proofs against every small tree."""

from __future__ import annotations

import itertools

import pytest

from strongroom.errors import IntegrityError, LocalProtocolError
from strongroom.trail.tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The eight inputs and roots that every implementation of RFC 6962 is tested with.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(data) for data in INPUTS]


def leaves_of(items):
    return lambda start, stop: items[start:stop]


def test_the_published_roots():
    frontier = Frontier()
    assert frontier.root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        frontier.append(leaf)
        assert frontier.root().hex() == root


def test_published_inclusion_proofs():
    proofs = {
        (0, 8): [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
        (5, 8): [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    }
    for (index, size), expected in proofs.items():
        proof = inclusion_proof(leaves_of(LEAVES), index, size)
        assert [item.hex() for item in proof] == expected
        assert verify_inclusion(LEAVES[index], index, size, proof, bytes.fromhex(ROOTS[size - 1]))


def test_published_consistency_proofs():
    proof = consistency_proof(leaves_of(LEAVES), 6, 8)
    assert [item.hex() for item in proof] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert verify_consistency(6, 8, bytes.fromhex(ROOTS[5]), bytes.fromhex(ROOTS[7]), proof)


def test_every_proof_of_every_small_tree_verifies_and_only_for_what_it_proves():
    leaves = [leaf_hash(bytes([number])) for number in range(20)]
    roots = [root_of(leaves[:size]) for size in range(21)]
    for size in range(1, 21):
        for index in range(size):
            proof = inclusion_proof(leaves_of(leaves), index, size)
            assert verify_inclusion(leaves[index], index, size, proof, roots[size])
            assert not verify_inclusion(leaves[index - 1], index, size, proof, roots[size]) or size == 1
            assert not verify_inclusion(leaves[index], index, size, proof, roots[size - 1])
            assert not verify_inclusion(leaves[index], index, size, [*proof, roots[1]], roots[size])
            assert not proof or not verify_inclusion(leaves[index], index, size, proof[:-1], roots[size])
    for old, new in itertools.combinations(range(21), 2):
        proof = consistency_proof(leaves_of(leaves), old, new)
        assert verify_consistency(old, new, roots[old], roots[new], proof)
        assert not verify_consistency(old, new, leaf_hash(b"other"), roots[new], proof)
        assert not verify_consistency(old, new, roots[old], roots[new], [*proof, roots[1]])
        if proof:  # from the empty tree there is nothing to prove
            assert not verify_consistency(old, new, roots[old], leaf_hash(b"other"), proof)
            assert not verify_consistency(old, new, roots[old], roots[new], proof[:-1])


def test_a_subtree_cannot_pose_as_the_tree():
    assert verify_inclusion(LEAVES[0], 0, 2, LEAVES[1:2], root_of(LEAVES[:2]))
    assert not verify_inclusion(LEAVES[0], 0, 4, LEAVES[1:2], root_of(LEAVES[:2]))
    assert not verify_inclusion(LEAVES[0], 0, 3, LEAVES[1:2], root_of(LEAVES[:2]))


def test_a_leaf_cannot_pose_as_a_node():
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_trees_of_equal_size_are_consistent_only_if_equal():
    root, other = root_of(LEAVES[:3]), root_of(LEAVES[1:4])
    assert verify_consistency(3, 3, root, root, [])
    assert not verify_consistency(3, 3, root, other, [])
    assert not verify_consistency(3, 3, root, root, [root])


def test_a_frontier_survives_being_written_and_keeps_growing_the_same_tree():
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES * 5, start=1):
        frontier = Frontier.parse(frontier.to_bytes())
        frontier.append(leaf)
        assert (frontier.size, frontier.root()) == (size, root_of((LEAVES * 5)[:size]))
    assert Frontier.parse(Frontier().to_bytes()).root() == EMPTY_ROOT


@pytest.mark.parametrize(
    "raw",
    [b"", bytes(7), bytes(9), bytes(7) + b"\x01", bytes(7) + b"\x01" + bytes(33), b"\xff" * 8 + bytes(32 * 64)],
    ids=["empty", "short", "long", "hash missing", "hash too long", "size over 63 bits"],
)
def test_a_broken_frontier_is_refused(raw):
    with pytest.raises(IntegrityError):
        Frontier.parse(raw)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_for_a_leaf_that_is_not_there(index, size):
    with pytest.raises(LocalProtocolError):
        inclusion_proof(leaves_of(LEAVES), index, size)
    assert not verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])


def test_no_consistency_backwards():
    with pytest.raises(LocalProtocolError):
        consistency_proof(leaves_of(LEAVES), 4, 3)
    assert not verify_consistency(4, 3, LEAVES[0], LEAVES[0], [])


def test_a_proof_with_an_item_of_another_length_or_too_many_is_refused_before_it_is_hashed():
    assert not verify_inclusion(LEAVES[0], 0, 2, [b"short"], LEAVES[0])
    assert not verify_inclusion(LEAVES[0], 0, 2, [LEAVES[1]] * 1000, LEAVES[0])
    assert not verify_consistency(3, 7, LEAVES[0], LEAVES[1], [])
