"""Merkle trees: roots and proofs equal those of RFC 9162 written down naively, on both sides of every tile's border."""

import hashlib
from collections.abc import Iterable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domains.audit.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Frontier,
    MissingHash,
    Tile,
    Tiles,
    frontier_tiles,
    is_consistent,
    node_hash,
    prove_consistency,
    prove_inclusion,
    root_by_inclusion,
)

SMALL = 300
# A complete tile of level 1, and a bit.
MANY = 65536 + 300
BORDERS = (255, 256, 257, 511, 512, 513, 65535, 65536, 65537, 65791, 65792, 65793)
leaves = [hashlib.sha256(b"\x00%d" % number).digest() for number in range(MANY)]
# In no tree and in no proof.
FOREIGN = hashlib.sha256(b"a hash of something else").digest()
sizes = st.integers(1, 2000) | st.sampled_from(BORDERS) | st.integers(1, MANY)


class Store:
    """The tiles of a tree of MANY leaves, and which were fetched."""

    def __init__(self) -> None:
        self.rows: dict[int, bytearray] = {0: bytearray(b"".join(leaves)), 1: bytearray(), 2: bytearray()}
        self.frontier = Frontier()
        for leaf in leaves:
            for node in self.frontier.append(leaf):
                assert node.number * HASH_BYTES == len(self.rows[node.level]), "nodes are completed in order"
                self.rows[node.level] += node.hash
        self.fetched: list[Tile] = []

    def fetch(self, tiles: Iterable[Tile]) -> Tiles:
        width = TILE_WIDTH * HASH_BYTES
        self.fetched = list(tiles)
        return {tile: bytes(self.rows[tile.level][tile.number * width :][:width]) for tile in self.fetched}


@pytest.fixture(scope="module")
def store() -> Store:
    return Store()


# RFC 9162, 2.1.1, 2.1.3.1 and 2.1.4.1, word for word.


@cache
def naive_root(start: int, end: int) -> bytes:
    if end - start == 1:
        return leaves[start]
    middle = start + split(end - start)
    return hashlib.sha256(b"\x01" + naive_root(start, middle) + naive_root(middle, end)).digest()


def split(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def naive_path(index: int, start: int, end: int) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + split(end - start)
    if index < middle - start:
        return [*naive_path(index, start, middle), naive_root(middle, end)]
    return [*naive_path(index - (middle - start), middle, end), naive_root(start, middle)]


def naive_subproof(first: int, start: int, end: int, *, known: bool) -> list[bytes]:
    if first == end - start:
        return [] if known else [naive_root(start, end)]
    middle = start + split(end - start)
    if first <= middle - start:
        return [*naive_subproof(first, start, middle, known=known), naive_root(middle, end)]
    return [*naive_subproof(first - (middle - start), middle, end, known=False), naive_root(start, middle)]


def test_the_hashes_are_those_of_the_standard() -> None:
    # The vectors of certificate transparency, with leaves "" and "\0".
    empty, zero = (hashlib.sha256(b"\x00" + data).digest() for data in (b"", b"\x00"))
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert node_hash(empty, zero).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"


def test_every_small_tree_has_the_root_and_the_proofs_of_the_standard(store: Store) -> None:
    growing = Frontier()
    for size in range(1, SMALL):
        growing.append(leaves[size - 1])
        assert growing.root == naive_root(0, size)
        assert growing.size == size
    for size in (*range(1, 34), 257):
        found = prove_inclusion(range(size), size, store.fetch)
        assert found == {index: naive_path(index, 0, size) for index in range(size)}
        for first in range(1, size + 1):
            assert prove_consistency(first, size, store.fetch) == naive_subproof(first, 0, size, known=True)


@settings(max_examples=30)
@given(size=sizes)
def test_a_tree_goes_on_from_its_tiles(store: Store, size: int) -> None:
    frontier = Frontier.of(size, store.fetch(frontier_tiles(size)))
    assert frontier.root == naive_root(0, size)
    if size < MANY:
        frontier.append(leaves[size])
        assert frontier.root == naive_root(0, size + 1)


@settings(max_examples=30)
@given(size=sizes, data=st.data())
def test_every_leaf_can_be_proved(store: Store, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion([index], size, store.fetch)[index]
    assert len(store.fetched) <= 2 * 3, "two tiles per level at most"
    assert proof == naive_path(index, 0, size)
    assert root_by_inclusion(leaves[index], index, size, proof) == naive_root(0, size)


@settings(max_examples=30)
@given(size=sizes, data=st.data())
def test_no_other_leaf_or_place_or_path_leads_to_the_root(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, proof = naive_root(0, size), naive_path(index, 0, size)
    other = data.draw(st.integers(0, size).filter(lambda place: place != index))
    assert root_by_inclusion(hashlib.sha256().digest(), index, size, proof) != root
    assert root_by_inclusion(leaves[index], other, size, proof) != root
    assert root_by_inclusion(leaves[index], index, size, [*proof, leaves[0]]) is None
    if proof:
        broken = data.draw(st.integers(0, len(proof) - 1))
        swapped = [*proof[:broken], FOREIGN, *proof[broken + 1 :]]
        assert root_by_inclusion(leaves[index], index, size, swapped) != root
        assert root_by_inclusion(leaves[index], index, size, proof[:-1]) is None


@settings(max_examples=30)
@given(second=sizes, data=st.data())
def test_a_log_begins_with_every_earlier_one(store: Store, second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second))
    roots = naive_root(0, first), naive_root(0, second)
    proof = prove_consistency(first, second, store.fetch)
    assert len(store.fetched) <= 2 * 3, "two tiles per level at most"
    assert proof == naive_subproof(first, 0, second, known=True)
    assert is_consistent(first, roots[0], second, roots[1], proof)
    assert not is_consistent(first, FOREIGN, second, roots[1], proof)
    assert not is_consistent(first, roots[0], second, FOREIGN, proof)
    assert not is_consistent(first, roots[0], second, roots[1], [*proof, leaves[0]])
    if proof:
        broken = data.draw(st.integers(0, len(proof) - 1))
        swapped = [*proof[:broken], FOREIGN, *proof[broken + 1 :]]
        assert not is_consistent(first, roots[0], second, roots[1], swapped)
        assert not is_consistent(first, roots[0], second, roots[1], proof[:-1])


def test_nothing_is_proved_of_what_is_not_there(store: Store) -> None:
    for index in (-1, 5):
        with pytest.raises(ValueError, match="no leaf"):
            prove_inclusion([index], 5, store.fetch)
    for first in (0, 6):
        with pytest.raises(ValueError, match="does not begin"):
            prove_consistency(first, 5, store.fetch)
    with pytest.raises(MissingHash):
        prove_inclusion([0], 5, lambda _: {Tile(0, 0): b"".join(leaves[:4])})
    assert root_by_inclusion(leaves[0], 5, 5, []) is None
    assert not is_consistent(0, EMPTY_ROOT, 5, naive_root(0, 5), [leaves[0]])
