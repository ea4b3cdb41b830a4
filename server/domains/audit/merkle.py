"""Merkle trees by RFC 9162 (2.1): roots, proofs, and the verification of both.

Only hashes are known here, not what they are hashes of. A tree is stored in tiles: rows of up to 256 hashes, on level 0
of leaves, on level n of complete subtrees with 256 ** n leaves. A proof thus reads at most two tiles per level, a few
hundred hashes in a tree of any size.
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
    """A position in a tree: the hashes from `number * 256` on of a level."""

    level: int
    number: int


class Node(NamedTuple):
    """The hash of a complete subtree with 256 ** level leaves, counted from the left."""

    level: int
    number: int
    hash: bytes


Tiles = Mapping[Tile, bytes]
"""Tiles with their concatenated hashes. The last tile of a level may have fewer than 256."""
Fetch = Callable[[Iterable[Tile]], Tiles]
"""Fetches tiles. Missing tiles are left out."""


class Range(NamedTuple):
    """Leaves `start` to `end - 1`."""

    start: int
    end: int


class MissingHash(LookupError):
    """A hash that the tree must have is missing."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node with these children."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


class Frontier:
    """A tree that grows to the right. It keeps only the roots of its complete subtrees in memory."""

    __slots__ = ("_roots", "size")

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        """`roots` are the roots of the complete subtrees, from the left: one per bit that is set in `size`."""
        self.size = size
        self._roots = list(roots)

    @classmethod
    def of(cls, size: int, tiles: Tiles) -> "Frontier":
        """The tree of this size, from the tiles of `frontier_tiles`. Raises MissingHash."""
        return cls(size, [_subtree_root(part, tiles) for part in _subtrees(Range(0, size))])

    def append(self, leaf: bytes) -> list[Node]:
        """Add the hash of a leaf. Returns the nodes that this completed, to be stored in tiles."""
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
    """For each leaf, the hashes up to the root of the tree of this size (2.1.3.1). Raises MissingHash."""
    paths = {index: inclusion_ranges(index, size) for index in indexes}
    tiles = fetch(_tiles_of(part for path in paths.values() for part in path))
    return {index: [_root(part, tiles) for part in path] for index, path in paths.items()}


def prove_consistency(first: int, second: int, fetch: Fetch) -> list[bytes]:
    """The hashes that prove that the tree of size `second` begins with that of `first` (2.1.4.1).

    Raises MissingHash.
    """
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
    # Until the remainder is one subtree that is complete in the first tree.
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            ranges.append(Range(middle, end))
            end = middle
        else:
            ranges.append(Range(start, middle))
            start = middle
    if start:
        # Otherwise the subtree is the whole first tree, whose root is known.
        ranges.append(Range(start, end))
    return ranges[::-1]


def root_by_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root of an inclusion proof (2.1.3.2); None if the proof does not fit the position."""
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
    """Whether a consistency proof is valid (2.1.4.2)."""
    if first == second:
        return not proof and first_root == second_root
    if not 0 < first < second or not proof:
        return False
    # If the first tree is complete, the proof omits its root.
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
        """The tile with the hashes below the subtree, or with its own hash."""
        level, rest = divmod(self.height, TILE_HEIGHT)
        return Tile(level, (self.number << rest) // TILE_WIDTH)


def _split(size: int) -> int:
    """The largest power of two below a size: the number of leaves in the left subtree."""
    return 1 << ((size - 1).bit_length() - 1)


def _subtrees(part: Range) -> Iterator[_Subtree]:
    """The complete subtrees that make up a range, from the left."""
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
    """The root over complete subtrees whose sizes decrease to the right."""
    if not roots:
        return EMPTY_ROOT
    root = roots[-1]
    for left in roots[-2::-1]:
        root = node_hash(left, root)
    return root
