"""Verification: what was changed, removed, copied or invented is named; what was erased is no fault."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.data.audit import audit_entries
from server.domains.audit import tree_check, verification
from server.domains.audit.checkpoints import CheckpointKeys, TreeHead, parse
from server.domains.audit.entry_checks import Retention
from server.domains.audit.merkle import Frontier
from server.domains.audit.sealing import FAULTS
from server.domains.audit.verification import NightlyCheck, Verifier
from server.kernel.ids import new_id
from server.kernel.record.audit import leaf_hash
from server.secrets import Secrets
from tests.domains.audit.scratch_log import ScratchLog, scratch_log
from tests.stack import Stack

# How one byte of a column is flipped, by its type.
FLIPS = {
    "text": "overlay({0} PLACING chr(ascii(substr({0}, {1}, 1)) # 2) FROM {1} FOR 1)",
    "uuid": "encode(set_byte(uuid_send({0}), {1}, get_byte(uuid_send({0}), {1}) # 1), 'hex')::uuid",
    "bytea": "set_byte({0}, {1}, get_byte({0}, {1}) # 1)",
    "bool": "NOT {0}",
    "int4": "{0} # 1",
    "int2": "({0} # 1)::smallint",
    "int8": "{0} # 1",
    "xid8": "({0}::text::bigint # 1)::text::xid8",
    "timestamptz": "{0} + '1 us'",
}


@pytest.fixture(scope="module")
def log(stack: Stack) -> Iterator[ScratchLog]:
    with scratch_log(stack) as made:
        yield made


def leaf(log: ScratchLog, tenant_id: str, index: int) -> dict[str, Any]:
    return log.sql("SELECT * FROM audit_leaves WHERE tenant_id = %s AND leaf_index = %s", tenant_id, index)[0]


def test_a_log_that_nobody_touched_is_right(log: ScratchLog) -> None:
    tenant_id = new_id()
    for count in (1, 254, 1, 1, 300):
        log.sealed(tenant_id, count)
    verifier = Verifier(log.database, log.keys)
    assert list(verifier.verify([tenant_id])) == []
    assert str(verifier.summary) == "557 entries and 5 checkpoints of 1 tenants: no faults"


@pytest.mark.parametrize("place", [1, 3])
def test_one_byte_flipped_in_any_column_names_the_row(log: ScratchLog, place: int) -> None:
    tenant_id = new_id()
    found = log.sql("SELECT column_name, udt_name FROM information_schema.columns WHERE table_name = 'audit_entries'")
    columns = {row["column_name"]: row["udt_name"] for row in found}
    assert columns.keys() == set(audit_entries.c.keys())
    ids = dict(zip(columns, log.sealed(tenant_id, len(columns)), strict=True))
    untouched = log.sealed(tenant_id, 3)
    for column, kind in columns.items():
        flipped = FLIPS[kind].format(column, place)
        log.sql(f"UPDATE audit_entries SET {column} = {flipped} WHERE id = '{ids[column]}'")
    named = log.faults(tenant_id)
    for column, entry_id in ids.items():
        assert any(f"entry {entry_id} " in fault for fault in named), f"{column} {FLIPS[columns[column]]}"
    assert not any(entry_id in fault for fault in named for entry_id in untouched)


def test_every_byte_of_an_entry_counts(log: ScratchLog) -> None:
    tenant_id = new_id()
    texts = ("method", "changes", "personal", "commitments", "request_id")
    kept = log.sql(f"SELECT {', '.join(texts)} FROM audit_entries WHERE id = %s", log.sealed(tenant_id)[0])[0]
    flips = [(name, place) for name in texts for place in range(1, len(kept[name]) + 1)]
    ids = log.sealed(tenant_id, len(flips))
    for name in texts:
        flipped = FLIPS["text"].format(name, "place")
        mine = [(entry_id, place) for entry_id, (column, place) in zip(ids, flips, strict=True) if column == name]
        log.sql(
            f"""UPDATE audit_entries SET {name} = {flipped}
                  FROM unnest(%s::uuid[], %s::int[]) AS flip (entry_id, place) WHERE id = entry_id""",
            *map(list, zip(*mine, strict=True)),
        )
    named = "\n".join(log.faults(tenant_id))
    missed = [flip for entry_id, flip in zip(ids, flips, strict=True) if entry_id not in named]
    assert missed == []


def test_a_row_that_was_deleted_is_named(log: ScratchLog) -> None:
    tenant_id = new_id()
    ids = log.sealed(tenant_id, 5)
    log.sql("DELETE FROM audit_entries WHERE id = ANY (%s)", [ids[0], ids[3]])
    assert log.faults(tenant_id) == [
        f"tenant {tenant_id} entry {ids[0]} leaf 0: is gone",
        f"tenant {tenant_id} entry {ids[3]} leaf 3: is gone",
    ]


@pytest.mark.parametrize(
    ("first", "end", "named"), [(2, 3, "leaf 2 is"), (1, 4, "leaves 1 to 3 are"), (4, 5, "leaf 4 is")]
)
def test_rows_that_were_deleted_with_their_leaves_leave_a_gap(
    log: ScratchLog, first: int, end: int, named: str
) -> None:
    tenant_id = new_id()
    ids = log.sealed(tenant_id, 5)
    log.sql("DELETE FROM audit_entries WHERE id = ANY (%s)", ids[first:end])
    log.sql("DELETE FROM audit_leaves WHERE entry_id = ANY (%s)", ids[first:end])
    what = "missing, and nothing after can be compared with checkpoints"
    assert log.faults(tenant_id) == [f"tenant {tenant_id} {named} {what}"]


def test_a_log_that_was_cut_with_its_checkpoints_is_told_by_what_is_left(log: ScratchLog) -> None:
    tenant_id, emptied = new_id(), new_id()
    first, second = log.sealed(tenant_id, 3), log.sealed(tenant_id, 2)
    other = log.sealed(emptied, 1)
    log.sql("DELETE FROM audit_checkpoints WHERE tenant_id = %s AND tree_size = 5", tenant_id)
    assert log.faults(tenant_id) == [f"tenant {tenant_id} leaves 3 to 4 are beyond the newest checkpoint, of 3"]
    log.sql("DELETE FROM audit_leaves WHERE tenant_id = %s AND leaf_index >= 3", tenant_id)
    for table in ("audit_leaves", "audit_checkpoints"):
        log.sql(f"DELETE FROM {table} WHERE tenant_id = %s", emptied)
    later = Verifier(log.database, log.keys, lambda: datetime.now(UTC) + timedelta(minutes=2))
    named = [finding.text for finding in later.verify_with([], [tenant_id, emptied])]
    assert [text.split(":")[0].rpartition(" ")[2] for text in named] == [*second, *other]
    assert all("is not sealed" in text for text in named)
    assert not any(entry_id in text for entry_id in first for text in named)


def test_rows_that_were_swapped_are_both_named(log: ScratchLog) -> None:
    tenant_id = new_id()
    ids = log.sealed(tenant_id, 4)
    log.sql(
        """UPDATE audit_entries SET id = CASE id WHEN %(one)s THEN %(other)s::uuid ELSE %(one)s::uuid END
            WHERE tenant_id = %(tenant)s AND id IN (%(one)s, %(other)s)""",
        one=ids[1],
        other=ids[2],
        tenant=tenant_id,
    )
    named = log.faults(tenant_id)
    assert [any(entry_id in fault for fault in named) for entry_id in ids] == [False, True, True, False]


def test_a_copy_of_a_row_is_named(log: ScratchLog) -> None:
    tenant_id = new_id()
    near, far = log.sealed(tenant_id, 2)
    for entry_id, distance in ((near, "1 second"), (far, "-20 days")):
        names = ", ".join(column.name for column in audit_entries.c if column.name != "create_time")
        log.sql(
            f"""INSERT INTO audit_entries (create_time, {names})
                SELECT create_time + '{distance}', {names} FROM audit_entries WHERE id = '{entry_id}'"""
        )
    named = log.faults(tenant_id)
    assert any(f"{near} leaf 0: is there more than once" in fault for fault in named)
    assert any(f"{far}: has another time than its id" in fault for fault in named)


def test_a_row_that_was_put_in_later_is_named(log: ScratchLog) -> None:
    tenant_id, moment = new_id(), datetime.now(UTC) - timedelta(minutes=5)
    log.sealed(tenant_id, 2)
    forged = log.write(tenant_id, create_time=moment)[0]
    log.sql("UPDATE audit_entries SET transaction_id = '7' WHERE id = %s", forged)
    assert log.sealer.seal() == 0
    named = log.faults(tenant_id)
    assert named == [f"tenant {tenant_id} entry {forged}: is not sealed, though it is of {moment:%F %T}"]


def test_a_change_along_with_all_hashes_that_can_be_made_is_told_by_the_signed_root(log: ScratchLog) -> None:
    tenant_id = new_id()
    log.sealed(tenant_id, 10)
    ids = log.sealed(tenant_id, 5)
    log.sealed(tenant_id, 5)
    _rewrite(log, tenant_id, ids[1])
    assert log.faults(tenant_id) == [
        f"tenant {tenant_id} checkpoint of 15: has another root: leaves 10 to 14 changed since",
        f"tenant {tenant_id} 1 checkpoints after it have other roots, too",
    ]


def _rewrite(log: ScratchLog, tenant_id: str, entry_id: str) -> None:
    """Change an entry, with its hash and that of its leaf."""
    row = log.sql("SELECT * FROM audit_entries WHERE id = %s", entry_id)[0]
    row |= {name: str(value) for name, value in row.items() if name.endswith("id") and value is not None}
    changed = leaf_hash(row | {"outcome": "DENIED"})
    log.sql("UPDATE audit_entries SET outcome = 'DENIED', hash = %s WHERE id = %s", changed, entry_id)
    log.sql("UPDATE audit_leaves SET hash = %s WHERE tenant_id = %s AND entry_id = %s", changed, tenant_id, entry_id)


def test_stored_nodes_are_what_they_are_over(log: ScratchLog) -> None:
    changed, gone = new_id(), new_id()
    for tenant_id in (changed, gone):
        log.sealed(tenant_id, 520)
    log.sql("UPDATE audit_nodes SET hash = sha256(hash) WHERE tenant_id = %s AND node_index = 1", changed)
    log.sql("DELETE FROM audit_nodes WHERE tenant_id = %s AND node_index = 0", gone)
    what = "is not that of"
    assert log.faults(changed, gone) == [
        f"tenant {changed} node 1 of level 1: {what} leaves 256 to 511",
        f"tenant {gone} node 0 of level 1: {what} leaves 0 to 255",
    ]


# Checkpoints ---------------------------------------------------------------------------------------------------------


def _spoiled(note: str) -> str:
    """A note with another signature."""
    return note[:-20] + ("A" if note[-20] != "A" else "B") + note[-19:]


def test_a_forged_checkpoint_is_named(log: ScratchLog) -> None:
    tenant_id = new_id()
    for _ in range(6):
        log.sealed(tenant_id)
    root = bytes(32)
    stranger = CheckpointKeys(Secrets(b"another secret than that of the log"))
    forgeries = {
        1: stranger.sign(TreeHead(tenant_id, 1, root)),
        2: log.keys.sign(TreeHead(new_id(), 2, root)),
        3: _spoiled(log.keys.sign(TreeHead(tenant_id, 3, root))),
        4: "no note",
        6: stranger.sign(TreeHead(tenant_id, 6, root)),
    }
    for size, note in forgeries.items():
        log.sql("UPDATE audit_checkpoints SET note = %s WHERE tenant_id = %s AND tree_size = %s", note, tenant_id, size)
    log.sql("UPDATE audit_checkpoints SET root_hash = %s WHERE tenant_id = %s AND tree_size <> 5", root, tenant_id)
    name = f"tenant {tenant_id} checkpoint of"
    assert log.faults(tenant_id) == [
        f"{name} 2: its note says something else",
        f"{name} 3: is not what the key it names has signed",
        f"{name} 4: a checkpoint has three lines: origin, size and root",
        f"{name} 1: has another root: leaf 0 changed since",
        f"tenant {tenant_id} 1 checkpoints after it have other roots, too",
        f"tenant {tenant_id} 2 checkpoints, up to that of 6, are signed by no known key",
    ]


def test_checkpoints_of_long_ago_may_be_signed_by_a_key_that_is_not_known_any_more(log: ScratchLog) -> None:
    tenant_id = new_id()
    log.sealed(tenant_id)
    log.sealed(tenant_id)
    stranger = CheckpointKeys(Secrets(b"the secret before the last two rotations"))
    old = log.sql("SELECT note FROM audit_checkpoints WHERE tenant_id = %s ORDER BY tree_size", tenant_id)[0]["note"]
    note = stranger.sign(parse(old))
    log.sql("UPDATE audit_checkpoints SET note = %s WHERE tenant_id = %s AND tree_size = 1", note, tenant_id)
    (finding,) = Verifier(log.database, log.keys).verify([tenant_id])
    assert (finding.is_fault, "up to that of 1, are signed by no known key" in finding.text) == (False, True)


def test_a_saved_checkpoint_finds_a_history_that_was_rewritten_and_signed_anew(log: ScratchLog) -> None:
    tenant_id, other = new_id(), new_id()
    ids = log.sealed(tenant_id, 3)
    log.sealed(other)
    saved, of_other = log.note(tenant_id), log.note(other)
    log.sealed(tenant_id, 3)
    assert log.faults(tenant_id, notes=(saved, log.note(tenant_id))) == []
    # Whoever has the secret can do this, and nothing in the database tells of it.
    _rewrite(log, tenant_id, ids[1])
    tree = Frontier()
    for row in log.sql("SELECT hash FROM audit_leaves WHERE tenant_id = %s ORDER BY leaf_index", tenant_id):
        tree.append(row["hash"])
        log.sql(
            """INSERT INTO audit_checkpoints (tenant_id, tree_size, root_hash, note) VALUES (%s, %s, %s, %s)
               ON CONFLICT (tenant_id, tree_size) DO UPDATE SET root_hash = excluded.root_hash, note = excluded.note""",
            tenant_id,
            tree.size,
            tree.root,
            log.keys.sign(TreeHead(tenant_id, tree.size, tree.root)),
        )
    assert log.faults(tenant_id) == []
    assert log.faults(tenant_id, notes=(saved, of_other)) == [
        f"tenant {tenant_id} the saved checkpoint: has another root: leaves 0 to 2 changed since"
    ]
    assert log.faults(tenant_id, notes=(_spoiled(of_other),)) == [
        f"tenant {other} saved checkpoint of 1: is not what the key it names has signed"
    ]
    for table in ("audit_entries", "audit_leaves", "audit_checkpoints"):
        log.sql(f"DELETE FROM {table} WHERE tenant_id = %s", other)
    assert log.faults(notes=(of_other,))[-1] == f"tenant {other} the saved checkpoint: the log has 0 leaves only"


# Personal data -------------------------------------------------------------------------------------------------------


def test_a_person_can_be_erased_and_nobody_can_be_made_another_one(log: ScratchLog) -> None:
    tenant_id = new_id()
    whole, part, *changed = log.sealed(tenant_id, 9)
    log.sql("UPDATE audit_entries SET personal = '{}' WHERE id = %s", whole)
    log.sql("UPDATE audit_entries SET personal = (personal::jsonb - 'ip')::text WHERE id = %s", part)
    assert log.faults(tenant_id) == []
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda kept: kept["ip"].update(value="192.0.2.8"),
        lambda kept: kept["ip"].update(salt=f" {kept['ip']['salt']}"),
        lambda kept: kept["ip"].update(more=""),
        lambda kept: kept.update(user_agent=kept["ip"]),
        lambda kept: kept.update(ip=kept["ip"]["value"]),
        lambda kept: kept.update(name=kept["ip"]),
    ]
    for entry_id, change in zip(changed, changes, strict=False):
        kept = json.loads(log.sql("SELECT personal FROM audit_entries WHERE id = %s", entry_id)[0]["personal"])
        change(kept)
        log.sql("UPDATE audit_entries SET personal = %s WHERE id = %s", json.dumps(kept), entry_id)
    log.sql("UPDATE audit_entries SET personal = '' WHERE id = %s", changed[6])
    named = log.faults(tenant_id)
    assert len(named) == 7
    for entry_id, fault in zip(changed, named, strict=True):
        assert f"entry {entry_id} " in fault
        assert "has personal data that it does not commit to" in fault
    assert "192.0.2" not in "".join(named), "what is personal is never told"


# Retention -----------------------------------------------------------------------------------------------------------


def test_entries_before_the_oldest_month_are_missed_by_nobody() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    oldest = [start]
    retention = Retention(lambda: oldest[0])

    def of(moment: datetime) -> dict[str, str]:
        stamp = f"{int(moment.timestamp() * 1000):012x}"
        return {"entry_id": f"{stamp[:8]}-{stamp[8:]}-7000-8000-000000000000"}

    assert retention.excuses(of(start - timedelta(seconds=1)))
    assert not retention.excuses(of(start + timedelta(seconds=1)))
    oldest[0] = start + timedelta(days=31)
    assert retention.excuses(of(start + timedelta(days=30))), "a month was dropped meanwhile"
    retention.present({"create_time": oldest[0] + timedelta(hours=1)})
    assert retention.excuses(of(start)), "close to the border entries may have been sealed in another order"
    retention.present({"create_time": oldest[0] + timedelta(days=2)})
    assert not retention.excuses(of(start)), "an id that is too old for its place was given to it"


def test_leaves_outlive_their_entries(log: ScratchLog) -> None:
    tenant_id = new_id()
    ids = log.sealed(tenant_id, 4)
    log.sql("DELETE FROM audit_entries WHERE id = ANY (%s)", ids[:2])
    old = f"01900000-0000-{new_id()[14:]}"
    log.sql("UPDATE audit_leaves SET entry_id = %s WHERE tenant_id = %s AND leaf_index = 0", old, tenant_id)
    assert log.faults(tenant_id) == [f"tenant {tenant_id} entry {ids[1]} leaf 1: is gone"]


# How much at once ----------------------------------------------------------------------------------------------------


def test_no_tree_and_no_list_of_faults_is_too_long(log: ScratchLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_check, "BATCH", 3)
    monkeypatch.setattr(verification, "MOST_FINDINGS", 2)
    tenant_id = new_id()
    ids = log.sealed(tenant_id, 10) + log.sealed(tenant_id, 7)
    assert log.faults(tenant_id) == []
    log.sql("UPDATE audit_entries SET outcome = 'DENIED' WHERE id = ANY (%s)", ids[5:10])
    verifier = Verifier(log.database, log.keys)
    assert [finding.text for finding in verifier.verify([tenant_id])] == [
        f"tenant {tenant_id} entry {ids[5]} leaf 5: is not what was sealed",
        f"tenant {tenant_id} entry {ids[6]} leaf 6: is not what was sealed",
        f"tenant {tenant_id} 3 more",
    ]
    assert verifier.summary.faults == 5


def test_every_night_what_is_wrong_is_counted(log: ScratchLog, caplog: pytest.LogCaptureFixture) -> None:
    tenant_id = new_id()
    entry_id = log.sealed(tenant_id)[0]
    log.sql("UPDATE audit_entries SET reason = 'ANOTHER' WHERE id = %s", entry_id)
    before = FAULTS._value.get()  # noqa: SLF001 - prometheus_client has no other way to read one
    NightlyCheck(log.database, log.keys).run()
    assert any(f"entry {entry_id} leaf 0: is not what was sealed" in record.getMessage() for record in caplog.records)
    told = sum(record.levelname == "ERROR" and record.name == "plinth.audit" for record in caplog.records)
    assert FAULTS._value.get() - before == told >= 1  # noqa: SLF001


def test_the_night_is_short_but_every_tenant_has_its_turn(log: ScratchLog) -> None:
    for _ in range(3):
        log.sealed(new_id())
    verifier = Verifier(log.database, log.keys)
    known = list(verifier.tenants())
    assert known == sorted(set(known))
    list(verifier.verify_within(60))
    assert verifier.summary.tenants == len(known)
    assert verifier.summary.is_complete
    hasty = Verifier(log.database, log.keys)
    list(hasty.verify_within(-1))
    assert not hasty.summary.is_complete
    assert "not all there are" in str(hasty.summary)
