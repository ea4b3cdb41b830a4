"""Checkpoints and proofs of the audit log: that an entry is in it, and that a later log begins with an earlier one.

AuditService delegates the RPCs of these names to `Proofs`; exports prove their entries with `prove`.
"""

import base64
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from plinth.audit.v1 import audit_pb2

from server.data.statements import Row
from server.domains.audit import leaves
from server.domains.audit.checkpoints import CheckpointKeys
from server.domains.audit.leaves import Run
from server.domains.audit.merkle import (
    MissingHash,
    Tile,
    Tiles,
    is_consistent,
    prove_consistency,
    prove_inclusion,
    root_by_inclusion,
)
from server.kernel.call import Call
from server.kernel.problems import Internal, StateForbids, Violation, broken_rules, not_found
from server.kernel.record import canonical

log = logging.getLogger("plinth.audit")
Made = TypeVar("Made")
ENTRY, CHECKPOINT = "plinth.dev/AuditEntry", "plinth.dev/Checkpoint"


class Proofs:
    """Checkpoints and proofs of a tenant's log. A proof that does not verify is never returned."""

    def __init__(self, keys: CheckpointKeys) -> None:
        self._keys = keys

    def get_checkpoint(self, call: Call, request: audit_pb2.GetCheckpointRequest) -> audit_pb2.Checkpoint:
        """The newest checkpoint, or the one of a given size."""
        return _message(_checkpoint(call.reads.run, _tenant_of(call), request.tree_size))

    def get_inclusion_proof(self, call: Call, request: audit_pb2.GetInclusionProofRequest) -> audit_pb2.InclusionProof:
        """Proof that an entry is in the log. The canonical form is omitted if retention has removed the entry."""
        run, tenant_id, entry_id = call.reads.run, _tenant_of(call), request.entry_id.lower()
        leaf = leaves.places(run, tenant_id, [entry_id]).get(entry_id)
        entry = next(iter(leaves.entries(run, tenant_id, [entry_id])), None)
        if leaf is None and entry is None:
            raise not_found(ENTRY, entry_id)
        checkpoint = _checkpoint(run, tenant_id, request.tree_size) if leaf else None
        if leaf is None or checkpoint is None or leaf["leaf_index"] >= checkpoint["tree_size"]:
            raise StateForbids(
                "The entry is not sealed by this checkpoint; the newest one seals it within seconds.",
                metadata={"resource_type": ENTRY, "state": "UNSEALED"},
            )
        index, size = leaf["leaf_index"], checkpoint["tree_size"]
        hashes = _found(tenant_id, partial(prove, run, tenant_id, size, [index]))[index]
        if root_by_inclusion(leaf["hash"], index, size, hashes) != checkpoint["root_hash"]:
            raise _broken(tenant_id, f"leaf {index} does not lead to the root of {size} leaves")
        return audit_pb2.InclusionProof(
            leaf_index=index,
            leaf_hash=_base64(leaf["hash"]),
            canonical_entry=canonical(entry) if entry else "",
            hashes=map(_base64, hashes),
            checkpoint=_message(checkpoint),
        )

    def get_consistency_proof(
        self, call: Call, request: audit_pb2.GetConsistencyProofRequest
    ) -> audit_pb2.ConsistencyProof:
        """Proof that the log of one checkpoint begins with that of another."""
        run, tenant_id = call.reads.run, _tenant_of(call)
        first = _checkpoint(run, tenant_id, request.first_tree_size)
        second = _checkpoint(run, tenant_id, request.second_tree_size)
        sizes = first["tree_size"], second["tree_size"]
        if sizes[0] > sizes[1]:
            raise broken_rules([Violation("first_tree_size", "is larger than the second one", "tree_size.order")])
        hashes = _found(tenant_id, partial(prove_consistency, *sizes, partial(_fetch, run, tenant_id)))
        if not is_consistent(sizes[0], first["root_hash"], sizes[1], second["root_hash"], hashes):
            raise _broken(tenant_id, f"the root of {sizes[1]} leaves does not go on from that of {sizes[0]}")
        return audit_pb2.ConsistencyProof(first=_message(first), second=_message(second), hashes=map(_base64, hashes))

    def list_checkpoint_keys(
        self, call: Call, request: audit_pb2.ListCheckpointKeysRequest
    ) -> audit_pb2.ListCheckpointKeysResponse:
        """The keys that verify checkpoints."""
        del request, call
        keys = [
            audit_pb2.ListCheckpointKeysResponse.Key(
                key_id=key.key_id, verifier_key=key.verifier_key, current=key is self._keys.current
            )
            for key in self._keys.all
        ]
        return audit_pb2.ListCheckpointKeysResponse(keys=keys)


def prove(run: Run, tenant_id: str, tree_size: int, indexes: Iterable[int]) -> dict[int, list[bytes]]:
    """Inclusion proofs of several leaves in the tree of one size, in one statement. Raises MissingHash."""
    return prove_inclusion(indexes, tree_size, partial(_fetch, run, tenant_id))


def _fetch(run: Run, tenant_id: str, wanted: Iterable[Tile]) -> Tiles:
    found = leaves.tiles(run, [(tenant_id, tile) for tile in wanted])
    return {tile: hashes for (_, tile), hashes in found.items()}


def _tenant_of(call: Call) -> str:
    if call.tenant_id is None:
        raise LookupError("a proof is one of a tenant's log")
    return call.tenant_id


def _checkpoint(run: Run, tenant_id: str, size: int) -> Row:
    """The checkpoint of a size; 0 is the newest one."""
    found = leaves.checkpoint_of_size(run, tenant_id, size) if size else leaves.newest_checkpoint(run, tenant_id)
    if found is None:
        raise not_found(CHECKPOINT, str(size) if size else "")
    return found


def _found(tenant_id: str, make: Callable[[], Made]) -> Made:
    """The result of `make`. Raises Internal if a hash of the tree is missing."""
    try:
        return make()
    except MissingHash as error:
        raise _broken(tenant_id, str(error)) from error


def _broken(tenant_id: str, what: str) -> Internal:
    """The problem of a tree that was tampered with. `plinth audit verify` shows more."""
    log.error("audit log: tenant %s: %s", tenant_id, what)
    return Internal("The audit log has been tampered with, so there is no such proof.")


def _message(row: Row) -> audit_pb2.Checkpoint:
    checkpoint = audit_pb2.Checkpoint(tree_size=row["tree_size"], root_hash=_base64(row["root_hash"]), note=row["note"])
    checkpoint.create_time.FromDatetime(row["create_time"])
    return checkpoint


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
