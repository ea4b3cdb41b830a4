"""Tables of the audit log's seals: a Merkle tree per tenant (RFC 9162), extended in batches by one job.

The log itself is in server/data/audit.py. Leaves never change and outlive their entries, so that proofs stay valid
after the retention time. A leaf takes about 120 bytes.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, PrimaryKeyConstraint, SmallInteger, Text, text

from server.data.audit import AUDIT_WALL
from server.data.tables import global_table, time_column, uuid_column

# Leaf number `leaf_index` (from 0) of a tenant's tree.
audit_leaves = global_table(
    "audit_leaves",
    uuid_column("tenant_id"),
    Column("leaf_index", BigInteger, nullable=False),
    uuid_column("entry_id"),
    # The position of the entry in the log: the only columns that are not in its hash.
    Column("transaction_id", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "leaf_index"),
    row_security=AUDIT_WALL,
)
Index("audit_leaves_entry_id_key", audit_leaves.c.tenant_id, audit_leaves.c.entry_id, unique=True)

# Hashes of complete subtrees with 256 ** level leaves, so that a proof reads a few hundred hashes in a tree of any
# size.
audit_nodes = global_table(
    "audit_nodes",
    uuid_column("tenant_id"),
    Column("level", SmallInteger, nullable=False),
    Column("node_index", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "level", "node_index"),
    row_security=AUDIT_WALL,
)

# A signed statement that the tree had this size and this root (C2SP tlog-checkpoint).
audit_checkpoints = global_table(
    "audit_checkpoints",
    uuid_column("tenant_id"),
    Column("tree_size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    time_column("create_time", server_default=text("now()")),
    PrimaryKeyConstraint("tenant_id", "tree_size"),
    row_security=AUDIT_WALL,
)
