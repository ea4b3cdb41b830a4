"""Sealing: every committed entry becomes exactly one leaf, checkpoints are signed, and no fork ever is."""

import base64
import logging
import threading
from collections.abc import Iterator

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.data.events import NO_TENANT
from server.data.transactions import Scope
from server.domains.audit import sealing
from server.domains.audit.checkpoints import CheckpointKeys, MalformedNote, Standing, TreeHead, parse
from server.domains.audit.merkle import Frontier
from server.domains.audit.sealing import FAULTS, LOCK_CURSOR, READER, UNSEALED, Sealer
from server.kernel.ids import new_id
from server.kernel.record.metrics import EVENT_LAG
from server.secrets import Secrets
from tests.domains.audit.scratch_log import SECRET, ScratchLog, scratch_log
from tests.stack import Stack, wait_for


@pytest.fixture(scope="module")
def log(stack: Stack) -> Iterator[ScratchLog]:
    with scratch_log(stack) as made:
        yield made


def leaves(log: ScratchLog, tenant_id: str) -> list[str]:
    found = log.sql("SELECT entry_id FROM audit_leaves WHERE tenant_id = %s ORDER BY leaf_index", tenant_id)
    return [str(row["entry_id"]) for row in found]


def sizes(log: ScratchLog, tenant_id: str) -> list[int]:
    found = log.sql("SELECT tree_size FROM audit_checkpoints WHERE tenant_id = %s ORDER BY tree_size", tenant_id)
    return [int(row["tree_size"]) for row in found]


def faults() -> float:
    return float(FAULTS._value.get())  # noqa: SLF001 - prometheus_client has no other way to read one


def test_entries_become_leaves_in_the_order_of_the_log(log: ScratchLog) -> None:
    one, other = new_id(), new_id()
    written = [log.write(tenant_id, count) for tenant_id, count in ((one, 300), (other, 2), (one, 1), (NO_TENANT, 1))]
    log.seal(304)
    assert leaves(log, one) == written[0] + written[2]
    assert leaves(log, other) == written[1]
    assert leaves(log, NO_TENANT) == written[3]
    assert log.sealer.seal() == 0
    assert (sizes(log, one), sizes(log, other)) == ([301], [2]), "a checkpoint for each tenant and batch"
    log.sealed(one, 220)
    assert sizes(log, one) == [301, 521]
    nodes = log.sql("SELECT level, node_index FROM audit_nodes WHERE tenant_id = %s ORDER BY node_index", one)
    assert [(node["level"], node["node_index"]) for node in nodes] == [(1, 0), (1, 1)]
    assert log.faults(one, other, NO_TENANT) == []


def test_a_batch_is_no_limit(log: ScratchLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 7)
    tenant_id = new_id()
    written = log.write(tenant_id, 30)
    log.seal(30)
    assert leaves(log, tenant_id) == written
    assert sizes(log, tenant_id) == [7, 14, 21, 28, 30]
    assert log.faults(tenant_id) == []


def test_what_commits_late_is_sealed_late_and_never_left_out(log: ScratchLog) -> None:
    tenant_id = new_id()
    with psycopg.connect(log.dsn) as slow:
        # Takes its transaction id before the others, and commits after they were to be sealed.
        slow.execute("SELECT pg_current_xact_id()")
        early = log.write(tenant_id, 2)
        assert log.sealer.seal() == 0, "an older transaction still runs"
        assert UNSEALED._value.get() == 2  # noqa: SLF001
        assert EVENT_LAG.labels(READER)._value.get() > 0  # noqa: SLF001
    log.seal(2)
    assert leaves(log, tenant_id) == early
    assert UNSEALED._value.get() == 0  # noqa: SLF001
    assert EVENT_LAG.labels(READER)._value.get() == 0  # noqa: SLF001


def test_one_process_seals_at_a_time(log: ScratchLog) -> None:
    tenant_id = new_id()
    log.write(tenant_id)
    with log.database.write(Scope()) as other:
        assert other.run(LOCK_CURSOR, name=READER).first()
        assert log.sealer.seal() == 0
    log.seal(1)


def test_many_that_seal_at_once_seal_each_entry_once(log: ScratchLog) -> None:
    tenant_id = new_id()
    stopped = threading.Event()
    written: list[str] = []

    def seal() -> None:
        sealer = Sealer(log.database, log.keys)
        while not stopped.is_set():
            sealer.seal()

    threads = [threading.Thread(target=seal) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            written += log.write(tenant_id, 5)
        wait_for(
            lambda: log.sql("SELECT count(*) FROM audit_leaves WHERE tenant_id = %s", tenant_id)[0]["count"] == 200
        )
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert leaves(log, tenant_id) == written
    assert log.faults(tenant_id) == []


def test_a_cursor_that_was_put_back_does_no_harm(log: ScratchLog) -> None:
    tenant_id = new_id()
    first = log.sealed(tenant_id, 3)
    log.sql("UPDATE event_cursors SET transaction_id = 0, sequence = 0 WHERE name = 'audit'")
    second = log.sealed(tenant_id, 2)
    assert leaves(log, tenant_id) == first + second
    assert log.faults(tenant_id) == []


def test_what_was_changed_before_it_was_sealed_is_told_and_stays_so(
    log: ScratchLog, caplog: pytest.LogCaptureFixture
) -> None:
    tenant_id, before = new_id(), faults()
    changed, copied, short = log.write(tenant_id, 3)
    log.sql("UPDATE audit_entries SET outcome = 'DENIED' WHERE id = %s", changed)
    log.sql("UPDATE audit_entries SET hash = 'short' WHERE id = %s", short)
    names = ", ".join(column.name for column in log.columns if column.name != "create_time")
    copy = f"INSERT INTO audit_entries (create_time, {names}) SELECT create_time + '1 s', {names} FROM audit_entries"
    log.sql(f"{copy} WHERE id = %s", copied)
    with caplog.at_level(logging.ERROR):
        log.seal(3)
    assert faults() - before == 3
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert f"entry {changed} is not what its hash was made of" in told
    assert f"entry {short} is not what its hash was made of" in told
    assert f"entry {copied} is there twice" in told
    named = "\n".join(log.faults(tenant_id))
    assert all(entry_id in named for entry_id in (changed, copied, short))


def test_no_fork_is_signed_and_others_are_sealed_all_the_same(log: ScratchLog) -> None:
    forked, shortened, forged, other = (new_id() for _ in range(4))
    for tenant_id in (forked, shortened, forged, other):
        log.sealed(tenant_id, 3)
    log.sql("UPDATE audit_leaves SET hash = sha256(hash) WHERE tenant_id = %s AND leaf_index = 1", forked)
    log.sql("DELETE FROM audit_leaves WHERE tenant_id = %s AND leaf_index = 2", shortened)
    note = log.note(forged)
    another = note[:-20] + ("A" if note[-20] != "A" else "B") + note[-19:]
    log.sql("UPDATE audit_checkpoints SET note = %s WHERE tenant_id = %s", another, forged)
    before = faults()
    for tenant_id in (forked, shortened, forged, other):
        log.write(tenant_id)
    log.seal(1)
    assert faults() - before == 3
    assert [sizes(log, tenant_id) for tenant_id in (forked, shortened, forged)] == [[3]] * 3
    assert sizes(log, other) == [3, 4]
    # Once it is as it was, what was left out is sealed.
    log.sql("UPDATE audit_checkpoints SET note = %s WHERE tenant_id = %s", note, forged)
    log.sql("DELETE FROM event_cursors")
    log.seal(1)
    assert sizes(log, forged) == [3, 4]
    assert log.faults(forged) == []


def test_stray_nodes_hold_up_nobody(log: ScratchLog) -> None:
    tenant_id = new_id()
    log.sql("INSERT INTO audit_nodes VALUES (%s, 1, 0, sha256('stray'))", tenant_id)
    log.sealed(tenant_id, 256)
    assert log.faults(tenant_id) == []


# Checkpoints ---------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_a_note_as_its_specification_has_it(log: ScratchLog) -> None:
    tenant_id = new_id()
    log.sealed(tenant_id, 5)
    tree = Frontier()
    for row in log.sql("SELECT hash FROM audit_leaves WHERE tenant_id = %s ORDER BY leaf_index", tenant_id):
        tree.append(row["hash"])
    text, _, signatures = log.note(tenant_id).partition("\n\n")
    assert text.split("\n") == [f"plinth.dev/audit/{tenant_id}", "5", base64.b64encode(tree.root).decode()]
    dash, name, encoded = signatures.removesuffix("\n").split(" ")
    verifier_name, key_hash, key = log.keys.current.verifier_key.split("+", 2)
    assert (dash, name) == ("\N{EM DASH}", verifier_name)
    decoded, public = base64.b64decode(encoded), base64.b64decode(key)
    assert (decoded[:4].hex(), public[:1]) == (key_hash, b"\x01")
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(decoded[4:], f"{text}\n".encode())


def test_after_a_rotation_the_new_key_signs_what_is_there(log: ScratchLog) -> None:
    tenant_id, new = new_id(), b"the secret after the rotation of it, and no other one"
    log.sealed(tenant_id, 3)
    old_note = log.note(tenant_id)
    keys = CheckpointKeys(Secrets(new, behind=(SECRET,)))
    assert keys.standing(old_note) is Standing.SIGNED
    assert not keys.is_current(old_note)
    Sealer(log.database, keys).seal()
    note = log.note(tenant_id)
    assert note.startswith(old_note)
    for one in (CheckpointKeys(Secrets(new)), CheckpointKeys(Secrets(SECRET))):
        assert one.standing(note) is Standing.SIGNED
        assert log.faults(tenant_id, keys=one) == []
    assert sizes(log, tenant_id) == [3]
    Sealer(log.database, keys).seal()
    assert log.note(tenant_id) == note, "signed once"


def test_what_no_key_here_has_signed_is_told_once_and_goes_on(log: ScratchLog) -> None:
    tenant_id, before = new_id(), faults()
    log.sealed(tenant_id, 2)
    stranger = CheckpointKeys(Secrets(b"a secret that was lost along with its deployment"))
    log.sql(
        "UPDATE audit_checkpoints SET note = %s WHERE tenant_id = %s",
        stranger.sign(parse(log.note(tenant_id))),
        tenant_id,
    )
    assert any("signed by no known key" in fault for fault in log.faults(tenant_id))
    sealer = Sealer(log.database, log.keys)
    sealer.seal()
    log.write(tenant_id)
    wait_for(lambda: sealer.seal() == 1)
    assert faults() - before == 1
    assert log.faults(tenant_id) == []


def test_what_is_no_checkpoint_is_refused() -> None:
    keys = CheckpointKeys(Secrets(SECRET))
    head = TreeHead(new_id(), 7, bytes(32))
    note = keys.sign(head)
    assert parse(note) == head
    assert keys.standing(note) is Standing.SIGNED
    text = head.text
    for broken in (
        "",
        "\n\n",
        text,
        note.replace("plinth.dev", "plinth.example"),
        note.replace("\n7\n", "\n07\n"),
        note.replace("\n7\n", "\n-7\n"),
        note.replace("\n7\n", "\nseven\n"),
        note.replace("AAA=\n", "AAB=\n", 1),
        note.replace("AAA=\n", "=\n", 1),
        note.replace("\n\n", "\nextension\n\n"),
    ):
        with pytest.raises(MalformedNote):
            parse(broken)
    assert keys.standing(note.replace("\n7\n", "\n8\n")) is Standing.FORGED
    assert keys.standing(f"{text}\n") is Standing.UNKNOWN
    assert keys.standing(f"{text}\n\N{EM DASH} plinth.dev/audit !\n") is Standing.UNKNOWN
    assert keys.standing(note + keys.current.signature_line("other\n")) is Standing.FORGED
    assert keys.standing(note + "\N{EM DASH} witness.example AAAAAAAA\n") is Standing.SIGNED
