"""Tenants' trees in the sealing job: loaded at their right edge, extended, signed and stored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Text, text
from sqlalchemy.dialects import postgresql

from server.data.events import Position
from server.data.statements import Row, Statement
from server.data.transactions import WriteTransaction
from server.domains.audit.checkpoints import CheckpointKeys, MalformedNote, Standing, TreeHead, parse
from server.domains.audit.leaves import Run, tiles
from server.domains.audit.merkle import Frontier, MissingHash, Node, Tile, frontier_tiles

LOWEST_ID = str(UUID(int=0))
HIGHEST = 2**128 - 1

HEADS = Statement(
    text(
        """SELECT tree.tenant_id, coalesce(newest.tree_size, 0) AS tree_size, newest.note,
                  coalesce((SELECT max(leaf_index) + 1 FROM audit_leaves WHERE tenant_id = tree.tenant_id), 0) AS leaves
             FROM unnest(CAST(:tenants AS uuid[])) AS tree (tenant_id)
             LEFT JOIN LATERAL (
                SELECT tree_size, note
                  FROM audit_checkpoints
                 WHERE tenant_id = tree.tenant_id
                 ORDER BY audit_checkpoints.tree_size DESC
                 LIMIT 1
             ) AS newest ON true"""
    ).columns(tenant_id=postgresql.UUID(as_uuid=False), tree_size=BigInteger(), note=Text(), leaves=BigInteger())
)
# Each tree costs one look-up in an index, whatever its size.
NEWEST_NOTES = Statement(
    text(
        """WITH RECURSIVE tree (tenant_id) AS (
               (SELECT tenant_id FROM audit_checkpoints WHERE tenant_id >= CAST(:start AS uuid) ORDER BY 1 LIMIT 1)
                UNION ALL
               SELECT (SELECT tenant_id FROM audit_checkpoints WHERE tenant_id > tree.tenant_id ORDER BY 1 LIMIT 1)
                 FROM tree
                WHERE tree.tenant_id IS NOT NULL
           )
           SELECT tree.tenant_id, newest.note
             FROM tree
            CROSS JOIN LATERAL (
               SELECT note
                 FROM audit_checkpoints
                WHERE tenant_id = tree.tenant_id
                ORDER BY audit_checkpoints.tree_size DESC
                LIMIT 1
            ) AS newest
            LIMIT CAST(:limit AS bigint)"""
    ).columns(tenant_id=postgresql.UUID(as_uuid=False), note=Text())
)
APPEND_LEAVES = Statement(
    text(
        """INSERT INTO audit_leaves (tenant_id, leaf_index, entry_id, transaction_id, sequence, hash)
           SELECT * FROM unnest(CAST(:tenants AS uuid[]), CAST(:indexes AS bigint[]), CAST(:entries AS uuid[]),
                                CAST(:transactions AS bigint[]), CAST(:sequences AS bigint[]),
                                CAST(:hashes AS bytea[]))"""
    )
)
# The conflict clause replaces a node that exists before its leaves: sealing did not write it.
APPEND_NODES = Statement(
    text(
        """INSERT INTO audit_nodes (tenant_id, level, node_index, hash)
           SELECT * FROM unnest(CAST(:tenants AS uuid[]), CAST(:levels AS smallint[]), CAST(:indexes AS bigint[]),
                                CAST(:hashes AS bytea[]))
               ON CONFLICT (tenant_id, level, node_index) DO UPDATE SET hash = excluded.hash"""
    )
)
APPEND_CHECKPOINTS = Statement(
    text(
        """INSERT INTO audit_checkpoints (tenant_id, tree_size, root_hash, note)
           SELECT * FROM unnest(CAST(:tenants AS uuid[]), CAST(:sizes AS bigint[]), CAST(:roots AS bytea[]),
                                CAST(:notes AS text[]))
               ON CONFLICT (tenant_id, tree_size) DO UPDATE SET note = excluded.note"""
    )
)


class Fork(Exception):
    """A tree differs from the one that was signed."""


class Leaf(NamedTuple):
    """A new leaf."""

    number: int
    entry_id: str
    place: Position
    hash: bytes


@dataclass(slots=True)
class Tree:
    """A tree in the state of its newest checkpoint."""

    tenant_id: str
    frontier: Frontier
    note: str
    """The newest checkpoint; empty if there is none yet."""
    leaves: list[Leaf]
    nodes: list[Node]
    """The nodes that were added and are not stored yet."""

    @property
    def head(self) -> TreeHead:
        """The tree head to sign."""
        return TreeHead(self.tenant_id, self.frontier.size, self.frontier.root)

    def append(self, entry_id: str, place: Position, leaf_hash: bytes) -> None:
        """Add the hash of the entry at this position."""
        self.leaves.append(Leaf(self.frontier.size, entry_id, place, leaf_hash))
        self.nodes += self.frontier.append(leaf_hash)


def load(run: Run, keys: CheckpointKeys, tenants: Sequence[str]) -> tuple[dict[str, Tree], list[str]]:
    """The trees of tenants, and faults. A tree that contradicts its signed head is left out and must not be signed."""
    rows = run(HEADS, tenants=tenants).all()
    hashes = tiles(run, [(row["tenant_id"], tile) for row in rows for tile in frontier_tiles(row["tree_size"])])
    trees: dict[str, Tree] = {}
    faults = []
    for row in rows:
        try:
            tree = _tree(row, hashes)
            is_known = _is_signed(tree, row["leaves"], keys)
        except (MissingHash, MalformedNote, Fork) as error:
            faults.append(f"tenant {row['tenant_id']} is not sealed any further: {error}")
            continue
        if not is_known:
            faults.append(f"tenant {tree.tenant_id}: no known key has signed its newest checkpoint")
        trees[tree.tenant_id] = tree
    return trees, faults


def newest_notes(run: Run, start: str, limit: int) -> dict[str, str]:
    """The newest checkpoint of each tenant from `start` on, in the order of their ids."""
    return {row["tenant_id"]: row["note"] for row in run(NEWEST_NOTES, start=start, limit=limit).all()}


def following(tenant_id: str) -> str | None:
    """The next id; None after the last possible one."""
    number = UUID(tenant_id).int
    return str(UUID(int=number + 1)) if number < HIGHEST else None


def store(transaction: WriteTransaction, keys: CheckpointKeys, trees: Iterable[Tree]) -> None:
    """Store the additions to trees, each with a checkpoint. A tree without any gets a signature by the current key."""
    grown = list(trees)
    leaves = [(tree.tenant_id, leaf) for tree in grown for leaf in tree.leaves]
    nodes = [(tree.tenant_id, node) for tree in grown for node in tree.nodes]
    heads = [tree.head for tree in grown]
    transaction.queue(
        APPEND_LEAVES,
        tenants=[tenant_id for tenant_id, _ in leaves],
        indexes=[str(leaf.number) for _, leaf in leaves],
        entries=[leaf.entry_id for _, leaf in leaves],
        transactions=[str(leaf.place.transaction_id) for _, leaf in leaves],
        sequences=[str(leaf.place.sequence) for _, leaf in leaves],
        hashes=[_bytea(leaf.hash) for _, leaf in leaves],
    )
    transaction.queue(
        APPEND_NODES,
        tenants=[tenant_id for tenant_id, _ in nodes],
        levels=[str(node.level) for _, node in nodes],
        indexes=[str(node.number) for _, node in nodes],
        hashes=[_bytea(node.hash) for _, node in nodes],
    )
    transaction.queue(
        APPEND_CHECKPOINTS,
        tenants=[head.tenant_id for head in heads],
        sizes=[str(head.tree_size) for head in heads],
        roots=[_bytea(head.root_hash) for head in heads],
        notes=[
            keys.sign(head) if tree.leaves else keys.sign_too(tree.note)
            for head, tree in zip(heads, grown, strict=True)
        ],
    )


def _tree(row: Row, hashes: Mapping[tuple[str, Tile], bytes]) -> Tree:
    tenant_id, size = row["tenant_id"], row["tree_size"]
    own = {tile: hashes.get((tenant_id, tile), b"") for tile in frontier_tiles(size)}
    return Tree(tenant_id, Frontier.of(size, own), row["note"] or "", [], [])


def _is_signed(tree: Tree, leaves: int, keys: CheckpointKeys) -> bool:
    """Whether a known key has signed the tree as stored. Raises Fork if a different tree was signed."""
    if leaves != tree.frontier.size:
        raise Fork(f"it has {leaves} leaves, and its newest checkpoint is of {tree.frontier.size}")
    if not tree.note:
        return True
    if parse(tree.note) != tree.head:
        raise Fork(f"its root is not that of its newest checkpoint, of {tree.frontier.size} leaves")
    standing = keys.standing(tree.note)
    if standing is Standing.FORGED:
        raise Fork(f"its newest checkpoint, of {tree.frontier.size} leaves, is {standing.value}")
    return standing is Standing.SIGNED


def _bytea(value: bytes) -> str:
    """Bytes as an element of an array in text form."""
    return f"\\x{value.hex()}"
