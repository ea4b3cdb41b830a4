"""Proofs through both doors of the stack, checked with what the offline verifier has; and `plinth audit verify`."""

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from plinth.audit.v1 import audit_pb2
from plinth.audit.v1.audit_pb2 import Checkpoint, InclusionProof
from plinth.sites.v1 import page_pb2

from clients.audit import verify
from server.commands import main
from server.data.connections import Connections
from server.data.transactions import Database
from server.domains.audit.checkpoints import CheckpointKeys
from server.domains.audit.merkle import is_consistent
from server.domains.audit.sealing import Sealer
from server.kernel.ids import new_id
from tests.clients import Rest, Tenant, another_tenant, new_tenant, problem, reason, refused, rows, stubs, unique
from tests.domains.audit.planting import entry, plant
from tests.stack import Stack, wait_for

WRITERS = 200
Seal = Callable[[], int]


@pytest.fixture(scope="module")
def seal(stack: Stack) -> Iterator[Seal]:
    """Seals as the worker of the stack does every few seconds, at once."""
    connections = Connections(stack.settings.dispatch_dsn, size=1, wait=20, statement_timeout=30, name="audit test")
    connections.open()
    yield Sealer(Database(connections), CheckpointKeys(stack.settings.secrets)).seal
    connections.close()


@pytest.fixture(scope="module")
def tenant(stack: Stack, seal: Seal) -> Tenant:
    """A tenant with two pages and two checkpoints."""
    made = new_tenant(stack)
    write(made)
    wait_until_sealed(made, seal)
    write(made)
    wait_until_sealed(made, seal)
    return made


def write(tenant: Tenant) -> None:
    tenant.stubs.pages.CreatePage(
        page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(title="A page", slug=unique("p")))
    )


def entry_ids(tenant: Tenant) -> list[str]:
    """The entries of a tenant, oldest first."""
    found = rows(tenant.stack, "SELECT id FROM audit_entries WHERE tenant_id = %s ORDER BY create_time, id", tenant.id)
    return [str(row["id"]) for row in found]


def wait_until_sealed(tenant: Tenant, seal: Seal) -> None:
    """Until nothing of a tenant waits; transactions that others have open may hold it up."""

    def is_sealed() -> bool:
        seal()
        found = rows(tenant.stack, "SELECT count(*) FROM audit_leaves WHERE tenant_id = %s", tenant.id)
        return bool(found[0]["count"] == len(entry_ids(tenant)))

    wait_for(is_sealed, what="the seal")


def checkpoints(tenant: Tenant) -> list[int]:
    found = rows(
        tenant.stack, "SELECT tree_size FROM audit_checkpoints WHERE tenant_id = %s ORDER BY tree_size", tenant.id
    )
    return [int(row["tree_size"]) for row in found]


def newest(tenant: Tenant, size: int = 0) -> Checkpoint:
    request = audit_pb2.GetCheckpointRequest(tenant_id=tenant.id, tree_size=size)
    answer: Checkpoint = tenant.stubs.audit.GetCheckpoint(request)
    return answer


def inclusion(tenant: Tenant, entry_id: str, size: int = 0) -> InclusionProof:
    request = audit_pb2.GetInclusionProofRequest(tenant_id=tenant.id, entry_id=entry_id, tree_size=size)
    answer: InclusionProof = tenant.stubs.audit.GetInclusionProof(request)
    return answer


def consistency(tenant: Tenant, first: int, second: int) -> Any:
    request = audit_pb2.GetConsistencyProofRequest(tenant_id=tenant.id, first_tree_size=first, second_tree_size=second)
    return tenant.stubs.audit.GetConsistencyProof(request)


def keys(stack: Stack) -> list[verify.Key]:
    """The public keys, as anybody gets them."""
    listed = stubs(stack).audit.ListCheckpointKeys(audit_pb2.ListCheckpointKeysRequest()).keys
    return [verify.Key.parse(key.verifier_key) for key in listed]


def signed(stack: Stack, checkpoint: Checkpoint) -> verify.Checkpoint:
    """What a checkpoint says, which has to be signed."""
    opened = verify.Checkpoint.open(checkpoint.note, keys(stack))
    assert (opened.size, opened.root) == (checkpoint.tree_size, base64.b64decode(checkpoint.root_hash))
    return opened


def holds(stack: Stack, proof: InclusionProof, entry_id: str) -> bool:
    """Whether a proof leads from the entry to a root that is signed."""
    opened = signed(stack, proof.checkpoint)
    assert f'"id":"{entry_id}"' in proof.canonical_entry
    leaf = hashlib.sha256(b"\0" + proof.canonical_entry.encode()).digest()
    assert base64.b64decode(proof.leaf_hash) == leaf
    hashes = [base64.b64decode(part) for part in proof.hashes]
    return verify.root_of_proof(leaf, proof.leaf_index, opened.size, hashes) == opened.root


def goes_on(tenant: Tenant, first: int, second: int) -> bool:
    """Whether the log of one signed checkpoint begins with that of another."""
    proof = consistency(tenant, first, second)
    old, new = (signed(tenant.stack, checkpoint) for checkpoint in (proof.first, proof.second))
    assert old.origin == new.origin == f"plinth.dev/audit/{tenant.id}"
    return is_consistent(old.size, old.root, new.size, new.root, [base64.b64decode(part) for part in proof.hashes])


def verified(monkeypatch: pytest.MonkeyPatch, stack: Stack, *arguments: str) -> int:
    """The exit status of `plinth audit verify`."""
    monkeypatch.setenv("PLINTH_DATA_DIR", str(stack.data_dir))
    monkeypatch.setattr("sys.argv", ["plinth", "audit", "verify", *arguments])
    return main()


def test_the_worker_seals_by_itself(stack: Stack) -> None:
    tenant = new_tenant(stack)
    wait_for(lambda: tenant.rest.get(f"{tenant.path}/audit/checkpoint").status_code == 200, what="the seal")
    assert signed(stack, newest(tenant)).size >= 1


def test_200_parallel_writers_leave_one_log_without_forks(
    stack: Stack, seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, stopped = new_tenant(stack), threading.Event()
    start = threading.Barrier(WRITERS)

    def write_with_others() -> None:
        start.wait()
        write(tenant)

    def seal_meanwhile() -> None:
        while not stopped.is_set():
            seal()

    sealing = threading.Thread(target=seal_meanwhile)
    sealing.start()
    try:
        with ThreadPoolExecutor(WRITERS) as writers:
            for written in [writers.submit(write_with_others) for _ in range(WRITERS)]:
                written.result()
    finally:
        stopped.set()
        sealing.join()
    wait_until_sealed(tenant, seal)
    found = rows(stack, "SELECT entry_id FROM audit_leaves WHERE tenant_id = %s ORDER BY leaf_index", tenant.id)
    leaves = [str(row["entry_id"]) for row in found]
    created = rows(stack, "SELECT id FROM audit_entries WHERE tenant_id = %s AND action = 'page.created'", tenant.id)
    assert len(created) == WRITERS
    assert sorted(leaves) == sorted(entry_ids(tenant)), "every entry is sealed, and once"
    sizes = checkpoints(tenant)
    assert sizes[-1] == len(leaves)
    for first, second in pairwise(sizes):
        assert goes_on(tenant, first, second)
    assert goes_on(tenant, sizes[0], sizes[-1])
    for entry_id in leaves[::8]:
        assert holds(stack, inclusion(tenant, entry_id), entry_id)
    assert verified(monkeypatch, stack, "--tenant", tenant.id) == 0


def test_proofs_are_alike_through_both_doors(tenant: Tenant) -> None:
    (first, second), entry_id = checkpoints(tenant)[-2:], entry_ids(tenant)[0]
    path = f"{tenant.path}/audit"
    rest = tenant.rest.get(f"{path}/entries/{entry_id.upper()}/proof").json()
    proof = inclusion(tenant, entry_id)
    assert (rest["canonicalEntry"], rest.get("hashes", [])) == (proof.canonical_entry, list(proof.hashes))
    assert rest["checkpoint"]["note"] == proof.checkpoint.note == newest(tenant).note
    assert holds(tenant.stack, inclusion(tenant, entry_id, first), entry_id)
    rest = tenant.rest.get(f"{path}/consistency", {"firstTreeSize": first}).json()
    assert rest["hashes"] == list(consistency(tenant, first, second).hashes)
    assert goes_on(tenant, second, second)
    assert tenant.rest.get(f"{path}/checkpoint", {"treeSize": first}).json()["treeSize"] == first


def test_keys_are_there_for_everybody(stack: Stack) -> None:
    (key,) = Rest(stack).get("audit/keys").json()["keys"]
    assert key["current"]
    assert key["verifierKey"].startswith(f"{key['keyId']}+")
    assert verify.Key.parse(key["verifierKey"]).name == "plinth.dev/audit"


def test_there_is_no_proof_of_what_is_not_sealed(tenant: Tenant, stack: Stack, seal: Seal) -> None:
    path = f"{tenant.path}/audit"
    assert reason(tenant.rest.get(f"{path}/entries/{new_id()}/proof")) == (404, "RESOURCE_NOT_FOUND")
    assert reason(tenant.rest.get(f"{path}/checkpoint", {"treeSize": 1_000_000})) == (404, "RESOURCE_NOT_FOUND")
    wait_until_sealed(tenant, seal)
    early = checkpoints(tenant)[-1]

    def is_told() -> bool:
        # The worker may be quicker; then the next one is asked for.
        late = entry(tenant.id)
        plant(stack, late)
        answer = tenant.rest.get(f"{path}/entries/{late['id']}/proof")
        return answer.status_code == 409 and problem(answer).metadata["state"] == "UNSEALED"

    wait_for(is_told)
    wait_until_sealed(tenant, seal)
    answer = refused(lambda: inclusion(tenant, entry_ids(tenant)[-1], early))
    assert (answer.reason, answer.metadata["state"]) == ("STATE_FORBIDS", "UNSEALED")
    assert refused(lambda: consistency(tenant, checkpoints(tenant)[-1], early)).violations == {
        "first_tree_size": ["is larger than the second one"]
    }
    assert refused(lambda: consistency(tenant, 1_000_000, 0)).reason == "RESOURCE_NOT_FOUND"


def test_a_person_is_erased_and_earlier_proofs_still_hold(
    stack: Stack, seal: Seal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tenant = new_tenant(stack)
    write(tenant)
    wait_until_sealed(tenant, seal)
    person, before, ids = tenant.owner.id, newest(tenant), entry_ids(tenant)
    proofs = {entry_id: inclusion(tenant, entry_id) for entry_id in ids}
    saved = tmp_path / "checkpoint"
    saved.write_text(before.note)
    kept = rows(stack, "SELECT personal FROM audit_entries WHERE tenant_id = %s", tenant.id)
    assert all('"ip"' in row["personal"] for row in kept)
    answer = tenant.rest.post(f"{tenant.path}/audit/erasures", {"personId": person})
    assert answer.json()["erasedEntries"] == len(ids)
    wait_until_sealed(tenant, seal)
    for entry_id, proof in proofs.items():
        assert holds(stack, proof, entry_id)
        assert inclusion(tenant, entry_id, before.tree_size) == proof
    assert goes_on(tenant, before.tree_size, newest(tenant).tree_size)
    assert verified(monkeypatch, stack, "--tenant", tenant.id, "--checkpoint-file", str(saved)) == 0
    export = tenant.rest.get(f"{tenant.path}/audit/export", {"format": "EXPORT_FORMAT_JSONL", "proofs": "true"}).content
    told: list[str] = []
    verification = verify.Verification(keys(stack), told.append)
    verification.run(export.splitlines(keepends=True))
    assert told == []
    assert verification.erased == len(ids)
    assert verification.proved == len(ids) + 1, "with the erasure itself"


def test_the_command_names_what_is_wrong(
    tenant: Tenant,
    seal: Seal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    stack, victim = tenant.stack, another_tenant(tenant)
    write(victim)
    wait_until_sealed(victim, seal)
    flipped, deleted = entry_ids(victim)[-2:]
    assert verified(monkeypatch, stack, "--tenant", victim.id.upper()) == 0
    assert capsys.readouterr().out.endswith(" of 1 tenants: no faults\n")
    rows(stack, "UPDATE audit_entries SET outcome = 'OJ' WHERE id = %s RETURNING id", flipped)
    rows(stack, "DELETE FROM audit_entries WHERE id = %s RETURNING id", deleted)
    assert verified(monkeypatch, stack, "--tenant", victim.id) == 1
    changed, gone, summary = capsys.readouterr().out.splitlines()
    assert changed.startswith(f"tenant {victim.id} entry {flipped} leaf ")
    assert changed.endswith(": is not what was sealed")
    assert gone.startswith(f"tenant {victim.id} entry {deleted} leaf ")
    assert gone.endswith(": is gone")
    assert summary.endswith(": 2 faults")
    no_note = tmp_path / "checkpoint"
    no_note.write_text("no note")
    for wrong in (("--tenant", "nobody"), ("--checkpoint-file", str(no_note)), ("--checkpoint-file", "/absent")):
        assert verified(monkeypatch, stack, *wrong) == 2
    assert capsys.readouterr().err.count("plinth: ") == 3


def test_no_proof_is_given_that_does_not_hold(tenant: Tenant, seal: Seal) -> None:
    victim = another_tenant(tenant)
    for _ in range(3):
        write(victim)
    wait_until_sealed(victim, seal)
    size, ids = checkpoints(victim)[-1], entry_ids(victim)
    seal()
    rows(
        tenant.stack,
        "UPDATE audit_leaves SET hash = sha256(hash) WHERE tenant_id = %s AND leaf_index = 1 RETURNING leaf_index",
        victim.id,
    )
    assert refused(lambda: inclusion(victim, ids[0])).reason == "INTERNAL"
    rows(
        tenant.stack,
        "DELETE FROM audit_leaves WHERE tenant_id = %s AND leaf_index = 1 RETURNING leaf_index",
        victim.id,
    )
    assert refused(lambda: inclusion(victim, ids[-1], size)).reason == "INTERNAL"
