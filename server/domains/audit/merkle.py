"""Merkle trees as RFC 9162 (2.1) has them: roots, proofs, and how both are checked.

Only hashes are known here, never what they are of. A tree is kept as tiles: rows of up to 256 hashes, on level 0 of
leaves, on level n of complete subtrees with 256 ** n leaves. A proof thus reads two tiles per level at most, a few
hundred hashes however large the tree.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

HASH_BYTES = 32
NODE_PREFIX = b"\x01"
EMPTY_ROOT = hashlib.sha256().digest()
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT


class Tile(NamedTuple):
    """A place in a tree: hashes `number * 256` and up of a level."""

    level: int
    number: int


class Node(NamedTuple):
    """The hash of a complete subtree with 256 ** level leaves, counted from the left."""

    level: int
    number: int
    hash: bytes


Tiles = Mapping[Tile, bytes]
"""Tiles with their hashes, one after the other; the last tile of a level may have less than 256."""
Fetch = Callable[[Iterable[Tile]], Tiles]
"""Fetches tiles; those that are not there are left out."""


class Range(NamedTuple):
    """Leaves `start` to `end - 1`."""

    start: int
    end: int


class MissingHash(LookupError):
    """A tree lacks a hash that it has to have."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node with these children."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


class Frontier:
    """A tree that grows to the right, with nothing in memory but the roots of its complete subtrees."""

    __slots__ = ("_roots", "size")

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        """`roots` are those of the complete subtrees, from the left: one per bit that is set in `size`."""
        self.size = size
        self._roots = list(roots)

    @classmethod
    def of(cls, size: int, tiles: Tiles) -> "Frontier":
        """The tree of this size, from the tiles of `frontier_tiles`. Raises MissingHash."""
        return cls(size, [_subtree_root(part, tiles) for part in _subtrees(Range(0, size))])

    def append(self, leaf: bytes) -> list[Node]:
        """Add the hash of a leaf; the nodes that this completed, to be stored in tiles."""
        self._roots.append(leaf)
        rest, height = self.size, 0
        self.size += 1
        completed = []
        while rest & 1:
            right = self._roots.pop()
            self._roots[-1] = node_hash(self._roots[-1], right)
            rest, height = rest >> 1, height + 1
            if height % TILE_HEIGHT == 0:
                completed.append(Node(height // TILE_HEIGHT, rest, self._roots[-1]))
        return completed

    @property
    def root(self) -> bytes:
        """The root of the whole tree."""
        return _joined(self._roots)


def frontier_tiles(size: int) -> set[Tile]:
    """The tiles that Frontier.of needs."""
    return _tiles_of([Range(0, size)])


def prove_inclusion(indexes: Iterable[int], size: int, fetch: Fetch) -> dict[int, list[bytes]]:
    """For each leaf, the hashes that lead to the root of the tree of this size (2.1.3.1). Raises MissingHash."""
    paths = {index: inclusion_ranges(index, size) for index in indexes}
    tiles = fetch(_tiles_of(part for path in paths.values() for part in path))
    return {index: [_root(part, tiles) for part in path] for index, path in paths.items()}


def prove_consistency(first: int, second: int, fetch: Fetch) -> list[bytes]:
    """The hashes that prove the tree of size `second` to begin with that of `first` (2.1.4.1). Raises MissingHash."""
    ranges = consistency_ranges(first, second)
    tiles = fetch(_tiles_of(ranges))
    return [_root(part, tiles) for part in ranges]


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The leaves under each hash of an inclusion proof, from the leaf's sibling up."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    ranges, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append(Range(middle, end))
            end = middle
        else:
            ranges.append(Range(start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """The leaves under each hash of a consistency proof, in its order."""
    if not 0 < first <= second:
        raise ValueError(f"a tree of {second} leaves does not begin with one of {first}")
    ranges, start, end = [], 0, second
    # Until what is left is one subtree that the first tree has as it is.
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            ranges.append(Range(middle, end))
            end = middle
        else:
            ranges.append(Range(start, middle))
            start = middle
    if start:
        # Otherwise that subtree is the whole first tree, whose root is known.
        ranges.append(Range(start, end))
    return ranges[::-1]


def root_by_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (2.1.3.2); None when it is none for that place."""
    if not 0 <= index < size:
        return None
    place, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = node_hash(sibling, root)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


def is_consistent(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a consistency proof holds (2.1.4.2)."""
    if first == second:
        return not proof and first_root == second_root
    if not 0 < first < second or not proof:
        return False
    # A first tree that is complete is its own beginning.
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


class _Subtree(NamedTuple):
    """A complete subtree with 2 ** height leaves, counted from the left."""

    height: int
    number: int

    @property
    def tile(self) -> Tile:
        """The tile that has the hashes below it, or its own."""
        level, rest = divmod(self.height, TILE_HEIGHT)
        return Tile(level, (self.number << rest) // TILE_WIDTH)


def _split(size: int) -> int:
    """The largest power of two below a size: how many leaves are in the left subtree."""
    return 1 << ((size - 1).bit_length() - 1)


def _subtrees(part: Range) -> Iterator[_Subtree]:
    """The complete subtrees of a part that a tree splits off, from the left."""
    start = part.start
    while start < part.end:
        height = (part.end - start).bit_length() - 1
        yield _Subtree(height, start >> height)
        start += 1 << height


def _tiles_of(ranges: Iterable[Range]) -> set[Tile]:
    return {subtree.tile for part in ranges for subtree in _subtrees(part)}


def _root(part: Range, tiles: Tiles) -> bytes:
    return _joined([_subtree_root(subtree, tiles) for subtree in _subtrees(part)])


def _subtree_root(subtree: _Subtree, tiles: Tiles) -> bytes:
    rest = subtree.height % TILE_HEIGHT
    start = (subtree.number << rest) % TILE_WIDTH * HASH_BYTES
    end = start + (HASH_BYTES << rest)
    tile = tiles.get(subtree.tile, b"")
    if len(tile) < end:
        raise MissingHash(f"{subtree.tile} has {len(tile)} bytes, not {end}")
    row = [tile[place : place + HASH_BYTES] for place in range(start, end, HASH_BYTES)]
    while len(row) > 1:
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def _joined(roots: Sequence[bytes]) -> bytes:
    """The root over complete subtrees that become smaller to the right."""
    if not roots:
        return EMPTY_ROOT
    root = roots[-1]
    for left in roots[-2::-1]:
        root = node_hash(left, root)
    return root
