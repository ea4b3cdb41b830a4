"""The check of one tenant's audit log, from its first entry to its last, in constant memory.

Everything is read and computed again: the hash of each entry, the nodes over them, and the root of every checkpoint.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import BigInteger, Boolean, DateTime, LargeBinary, SmallInteger, bindparam, select, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.domains.audit import leaves
from server.domains.audit.checkpoints import CheckpointKeys, MalformedNote, Standing, TreeHead, parse
from server.domains.audit.entry_checks import Retention, faults_of_entry
from server.domains.audit.leaves import Run
from server.domains.audit.merkle import TILE_WIDTH, Frontier, Node
from server.domains.audit.tables import audit_checkpoints
from server.domains.audit.trees import HEADS, LOWEST_ID
from server.kernel.record import EPOCH

BATCH = 2000
SAVED = "the saved checkpoint"
GRACE = timedelta(seconds=60)
"""Entries that are older must be sealed."""

CHECKPOINTS = Statement(
    select(audit_checkpoints.c.tree_size, audit_checkpoints.c.root_hash, audit_checkpoints.c.note)
    .where(
        audit_checkpoints.c.tenant_id == bindparam("tenant", type_=audit_checkpoints.c.tenant_id.type),
        audit_checkpoints.c.tree_size > bindparam("first", type_=BigInteger()),
        audit_checkpoints.c.tree_size <= bindparam("last", type_=BigInteger()),
    )
    .order_by(audit_checkpoints.c.tree_size)
)
NODES = Statement(
    text(
        """SELECT node.level, node.number, (
                  SELECT hash FROM audit_nodes
                   WHERE tenant_id = CAST(:tenant AS uuid) AND level = node.level AND node_index = node.number
                  ) AS hash
             FROM unnest(CAST(:levels AS smallint[]), CAST(:numbers AS bigint[])) AS node (level, number)"""
    ).columns(level=SmallInteger(), number=BigInteger(), hash=LargeBinary())
)
# The order is that of an index, and each entry costs a look-up in another one.
PRESENT = Statement(
    text(
        """SELECT entry.id, entry.create_time, coalesce((
                  SELECT true FROM audit_leaves WHERE tenant_id = CAST(:tenant AS uuid) AND entry_id = entry.id LIMIT 1
                  ), false) AS is_sealed
             FROM (
                SELECT id, create_time
                  FROM audit_entries
                 WHERE tenant_id = CAST(:tenant AS uuid)
                   AND (create_time, id) > (CAST(:time AS timestamptz), CAST(:id AS uuid))
                   AND create_time < CAST(:before AS timestamptz)
                 ORDER BY audit_entries.create_time, audit_entries.id
                 LIMIT CAST(:limit AS bigint)
             ) AS entry
            ORDER BY entry.create_time, entry.id"""
    ).columns(id=UUID(as_uuid=False), create_time=DateTime(timezone=True), is_sealed=Boolean())
)


class Finding(NamedTuple):
    """A finding about a tenant's log."""

    text: str
    is_fault: bool = True


class _Expected(NamedTuple):
    """A root that the tree must have at some size, and the source of that claim."""

    root_hash: bytes
    source: str


class TreeCheck:
    """The check of one tenant's tree."""

    def __init__(
        self,
        run: Run,
        tenant_id: str,
        keys: CheckpointKeys,
        *,
        now: datetime,
        saved: Sequence[TreeHead] = (),
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """`saved` are tree heads that were kept elsewhere. `pause` is called between batches and may raise."""
        self.entries = 0
        """Number of entries found."""
        self.checkpoints = 0
        """Number of checkpoints found."""
        self._run = run
        self._tenant_id = tenant_id
        self._keys = keys
        self._now = now
        self._pause = pause
        self._expected: dict[int, list[_Expected]] = defaultdict(list)
        for head in saved:
            self._expected[head.tree_size].append(_Expected(head.root_hash, SAVED))
        self._retention = Retention(lambda: run(leaves.RETAINED_FROM).value() or EPOCH)
        # None after a gap, because roots over later leaves can no longer be computed.
        self._frontier: Frontier | None = Frontier()
        self._right_size = 0
        self._wrong_sizes: list[int] = []
        self._unknown_sizes: list[int] = []

    def findings(self) -> Iterator[Finding]:
        """All findings, in the order of the log."""
        head = self._run(HEADS, tenants=[self._tenant_id]).one()
        size = head["tree_size"]
        for first in range(0, size, BATCH):
            self._pause()
            yield from self._batch(first, min(first + BATCH, size))
        yield from self._ends(size, head["leaves"])
        yield from self._unsealed()

    def _batch(self, first: int, last: int) -> Iterator[Finding]:
        for row in self._run(CHECKPOINTS, tenant=self._tenant_id, first=first, last=last).all():
            yield from self._checkpoint(row)
        nodes: list[Node] = []
        place = first
        for leaf, entry in leaves.sealed(self._run, self._tenant_id, first, last):
            yield from self._gap(place, leaf["leaf_index"])
            yield from self._entry(leaf, entry, is_copy=leaf["leaf_index"] < place)
            if leaf["leaf_index"] >= place and self._frontier is not None:
                nodes += self._frontier.append(leaf["hash"])
                yield from self._root(self._frontier)
            place = leaf["leaf_index"] + 1
        yield from self._gap(place, last)
        yield from self._nodes(nodes)

    def _gap(self, place: int, next_place: int) -> Iterator[Finding]:
        if place < next_place:
            self._frontier = None
            what = f"{_leaves(place, next_place)} {_are(place, next_place)} missing"
            yield Finding(f"{what}, and nothing after can be compared with checkpoints")

    def _entry(self, leaf: Row, entry: Row | None, *, is_copy: bool) -> Iterator[Finding]:
        name = f"entry {leaf['entry_id']} leaf {leaf['leaf_index']}"
        if is_copy:
            yield Finding(f"{name}: is there more than once")
        if entry is None:
            if not self._retention.excuses(leaf):
                yield Finding(f"{name}: is gone")
            return
        self.entries += 1
        self._retention.present(entry)
        for fault in faults_of_entry(leaf, entry):
            yield Finding(f"{name}: {fault}")

    def _checkpoint(self, row: Row) -> Iterator[Finding]:
        """Read the claim of a checkpoint, and verify its signatures."""
        self.checkpoints += 1
        name, size = f"checkpoint of {row['tree_size']}", row["tree_size"]
        try:
            head, standing = parse(row["note"]), self._keys.standing(row["note"])
        except MalformedNote as error:
            yield Finding(f"{name}: {error}")
            return
        if head != TreeHead(self._tenant_id, size, row["root_hash"]):
            yield Finding(f"{name}: its note says something else")
        elif standing is Standing.FORGED:
            yield Finding(f"{name}: is {standing.value}")
        else:
            self._expected[size].append(_Expected(head.root_hash, name))
        if standing is Standing.UNKNOWN:
            self._unknown_sizes.append(size)

    def _root(self, frontier: Frontier) -> Iterator[Finding]:
        for expected in self._expected.pop(frontier.size, ()):
            if frontier.root == expected.root_hash:
                self._right_size = frontier.size
                continue
            if not self._wrong_sizes:
                since = 0 if expected.source == SAVED else self._right_size
                yield Finding(f"{expected.source}: has another root: {_leaves(since, frontier.size)} changed since")
            self._wrong_sizes.append(frontier.size)

    def _nodes(self, nodes: Sequence[Node]) -> Iterator[Finding]:
        """Compare nodes with the stored ones, from which proofs are made."""
        rows = self._run(
            NODES,
            tenant=self._tenant_id,
            levels=[str(node.level) for node in nodes],
            numbers=[str(node.number) for node in nodes],
        ).all()
        stored = {(row["level"], row["number"]): row["hash"] for row in rows}
        for node in nodes:
            if stored[node.level, node.number] != node.hash:
                width = TILE_WIDTH**node.level
                where = _leaves(node.number * width, (node.number + 1) * width)
                yield Finding(f"node {node.number} of level {node.level}: is not that of {where}")

    def _ends(self, size: int, stored: int) -> Iterator[Finding]:
        if stored > size:
            what = f"{_leaves(size, stored)} {_are(size, stored)}"
            yield Finding(f"{what} beyond the newest checkpoint, of {size}")
        if any(saved > size for saved in self._expected):
            yield Finding(f"{SAVED}: the log has {size} leaves only")
        if len(self._wrong_sizes) > 1:
            yield Finding(f"{len(self._wrong_sizes) - 1} checkpoints after it have other roots, too")
        if self._unknown_sizes:
            # An old checkpoint with an earlier key is no fault. The newest one is, because a rotation has it signed
            # again.
            newest = self._unknown_sizes[-1]
            text = f"{len(self._unknown_sizes)} checkpoints, up to that of {newest}, are signed by no known key"
            yield Finding(text, is_fault=newest == size)

    def _unsealed(self) -> Iterator[Finding]:
        """Entries that should be sealed by now, and entries whose time differs from that in their id."""
        before = self._now - GRACE
        time, entry_id, found = EPOCH, LOWEST_ID, BATCH
        while found == BATCH:
            self._pause()
            rows = self._run(PRESENT, tenant=self._tenant_id, time=time, id=entry_id, before=before, limit=BATCH).all()
            for row in rows:
                if not row["is_sealed"]:
                    yield Finding(f"entry {row['id']}: is not sealed, though it is of {row['create_time']:%F %T}")
                elif abs(row["create_time"] - leaves.time_of(row["id"])) > leaves.SLACK:
                    yield Finding(f"entry {row['id']}: has another time than its id")
            found = len(rows)
            if rows:
                time, entry_id = rows[-1]["create_time"], rows[-1]["id"]


def _leaves(first: int, end: int) -> str:
    """Leaves by number, as text."""
    return f"leaf {first}" if end - first == 1 else f"leaves {first} to {end - 1}"


def _are(first: int, end: int) -> str:
    return "is" if end - first == 1 else "are"
