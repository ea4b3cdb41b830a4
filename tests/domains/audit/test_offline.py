"""The offline verifier: what was exported is proved with the public key alone, and every wrong line is told."""

import ast
import base64
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clients.audit import verify
from clients.audit.verify import CannotVerify, Checkpoint, Key, Verification
from server.data.connections import Result
from server.data.statements import Statement
from server.data.transactions import Scope
from server.domains.audit import bundle
from server.domains.audit.checkpoints import CheckpointKeys, TreeHead
from server.domains.audit.leaves import entries
from server.kernel.ids import new_id
from server.secrets import Secrets
from tests.domains.audit.scratch_log import ScratchLog, scratch_log
from tests.stack import PATIENCE, Stack

PROGRAM = Path(str(verify.__file__))
# The example of C2SP signed-note, from golang.org/x/mod/sumdb/note.
PUBLIC_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLIC_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture(scope="module")
def log(stack: Stack) -> Iterator[ScratchLog]:
    with scratch_log(stack) as made:
        yield made


def exported(log: ScratchLog, tenant_id: str, *, only: list[str] | None = None) -> list[bytes]:
    """The lines of an export: all of the log, or the entries with these ids."""

    def run(statement: Statement, **parameters: Any) -> Result:
        with log.database.read(Scope()) as transaction:
            return transaction.run(statement, **parameters)

    if only is None:
        return list(bundle.complete(run, tenant_id, datetime.now(UTC)))
    return list(bundle.filtered(run, tenant_id, lambda run: iter(entries(run, tenant_id, only))))


def verified(log: ScratchLog, lines: list[bytes]) -> tuple[Verification, list[str]]:
    """What the verifier makes of an export, and what it tells."""
    told: list[str] = []
    verification = Verification([Key.parse(log.keys.current.verifier_key)], told.append)
    verification.run(lines)
    assert verification.faults == len(told)
    return verification, told


def changed(line: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    record = json.loads(line)
    change(record)
    return f"{json.dumps(record, ensure_ascii=False)}\n".encode()


def test_a_complete_export_is_proved(log: ScratchLog) -> None:
    tenant_id = new_id()
    ids = log.sealed(tenant_id, 300) + log.sealed(tenant_id, 2)
    log.sql("UPDATE audit_entries SET personal = '{}' WHERE id = ANY (%s)", ids[3:5])
    log.write(tenant_id)
    verification, told = verified(log, exported(log, tenant_id))
    assert told == []
    assert (verification.proved, verification.erased, verification.unsealed, verification.gone) == (302, 2, 1, 0)


def test_a_filtered_export_is_proved_line_by_line(log: ScratchLog) -> None:
    tenant_id = new_id()
    ids = log.sealed(tenant_id, 300) + log.sealed(tenant_id, 7)
    lines = exported(log, tenant_id, only=[*ids[::50], ids[306], *log.write(tenant_id)])
    verification, told = verified(log, lines)
    assert told == []
    assert (verification.proved, verification.unsealed) == (8, 1)
    place = next(number for number, line in enumerate(lines) if b'"leaf_index":100,' in line)
    for change in (
        lambda record: record["entry"].update(outcome="DENIED"),
        lambda record: record.update(leaf_index=101),
        lambda record: record["proof"].pop(),
        lambda record: record["proof"].append(record["proof"][0]),
        lambda record: record.update(proof=None),
        lambda record: record.pop("entry"),
    ):
        wrong = [*lines[:place], changed(lines[place], change), *lines[place + 1 :]]
        _, told = verified(log, wrong)
        assert [text.split(":")[0] for text in told] == [f"line {place + 1}"]


def test_every_byte_of_an_entry_counts(log: ScratchLog) -> None:
    tenant_id = new_id()
    log.sealed(tenant_id, 3)
    lines = exported(log, tenant_id)
    start = lines[2].index(b'"entry":') + len(b'"entry":')
    for place in range(start, len(lines[2]) - 1):
        flipped = bytearray(lines[2])
        # The lowest bit, but where that gives another way to write the same.
        flipped[place] ^= 1
        _, told = verified(log, [*lines[:2], bytes(flipped), *lines[3:]])
        assert told, flipped[place - 20 : place + 20]
        assert told[0].startswith("line 3: "), told


Lines = list[bytes]


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (lambda lines: lines[:3] + lines[4:], ["line 4: leaf 3 stands where leaf 2 should", "ends after 4 leaves"]),
        (lambda lines: lines[:-1], ["ends after 4 leaves, and 5 were sealed"]),
        (lambda lines: [*lines, lines[-1]], ["leaf 4 stands where leaf 5 should", "ends after 6 leaves"]),
        (
            lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
            ["line 2: leaf 1", "line 3: leaf 0", "line 4: leaf 2", "another root than the signed one"],
        ),
        (lambda lines: [*lines[:2], b"{", *lines[3:]], ["line 3: cannot be read", "line 4: leaf 2", "ends after 4"]),
        (
            lambda lines: [*lines[:2], changed(lines[2], lambda record: record.update(hash="")), *lines[3:]],
            ["line 3: entry", "another root than the signed one"],
        ),
        (
            lambda lines: [*lines[:2], changed(lines[2], lambda record: record.pop("entry")), *lines[3:]],
            ["line 3: entry None, leaf 1, is gone, and was not too old to be kept"],
        ),
        (
            lambda lines: [*lines[:2], changed(lines[2], lambda record: record.update(entry="text")), *lines[3:]],
            ["line 3: has no entry", "line 4: leaf 2", "ends after 4"],
        ),
        (
            lambda lines: [*lines[:2], changed(lines[2], lambda record: record.update(leaf_index=9)), *lines[3:]],
            ["says that it is sealed as leaf 9, of 5", "line 4: leaf 2", "ends after 4"],
        ),
        (
            lambda lines: [*lines[:2], changed(lines[2], _other_address), *lines[3:]],
            ["line 3: entry", "personal data that it does not commit to: ip"],
        ),
        (
            lambda lines: [*lines[:2], changed(lines[2], _other_way_to_write_salt), *lines[3:]],
            ["line 3: entry", "personal data that it does not commit to: ip"],
        ),
        (
            lambda lines: [*lines[:2], changed(lines[2], lambda record: record.update(personal=7)), *lines[3:]],
            ["no personal data that could be read"],
        ),
        (
            lambda lines: [*lines[:2], lines[2].replace(b'"OK"', b'"\\ud800"'), *lines[3:]],
            ["line 3: entry", "is not what was sealed as leaf 1"],
        ),
        (
            lambda lines: [*lines[:2], lines[2].replace(b'"count":', b'"count":7,"count":'), *lines[3:]],
            ["line 3: cannot be read"],
        ),
    ],
)
def test_every_wrong_line_is_told(log: ScratchLog, tamper: Callable[[Lines], Lines], expected: list[str]) -> None:
    tenant_id = new_id()
    log.sealed(tenant_id, 5)
    _, told = verified(log, tamper(exported(log, tenant_id)))
    everything = "\n".join(told)
    assert told
    for text in expected:
        assert text in everything


def _other_address(record: dict[str, Any]) -> None:
    record["personal"]["ip"]["value"] = "192.0.2.99"


def _other_way_to_write_salt(record: dict[str, Any]) -> None:
    record["personal"]["ip"]["salt"] += " "


def test_what_was_changed_in_the_database_is_told_by_its_line(log: ScratchLog) -> None:
    tenant_id = new_id()
    ids = log.sealed(tenant_id, 5)
    log.sql("UPDATE audit_entries SET changes = '' WHERE id = %s", ids[1])
    log.sql("DELETE FROM audit_entries WHERE id = ANY (%s)", [ids[0], ids[3]])
    old = f"01900000-0000-{ids[0][14:]}"
    log.sql("UPDATE audit_leaves SET entry_id = %s WHERE entry_id = %s", old, ids[0])
    verification, told = verified(log, exported(log, tenant_id))
    assert told == [
        f"line 3: entry {ids[1]} is not what was sealed as leaf 1",
        f"line 5: entry {ids[3]}, leaf 3, is gone, and was not too old to be kept",
    ]
    assert (verification.proved, verification.gone) == (2, 2)


def test_nothing_is_verified_without_a_checkpoint_that_the_key_has_signed(log: ScratchLog) -> None:
    tenant_id, other = new_id(), new_id()
    log.sealed(tenant_id, 2)
    log.sealed(other, 2)
    lines, foreign = exported(log, tenant_id), exported(log, other)
    stranger = CheckpointKeys(Secrets(b"somebody else's secret, not this log's"))
    with pytest.raises(CannotVerify, match="none of the given keys"):
        Verification([Key.parse(stranger.current.verifier_key)], print).run(lines)
    own = json.loads(lines[0])
    forged = own["checkpoint"].replace("\n2\n", "\n1\n")
    for header, what in (
        (own | {"checkpoint": forged}, "is not what"),
        (own | {"checkpoint": json.loads(foreign[0])["checkpoint"]}, "another log"),
        (own | {"origin": f"plinth.dev/audit/{other}"}, "another log"),
        (own | {"checkpoint": ""}, "nothing was sealed"),
        (own | {"checkpoint": "text\n"}, "none of the given keys"),
        (own | {"format": 2}, "no header of format 1"),
        ([], "no header"),
    ):
        with pytest.raises(CannotVerify, match=what):
            verified(log, [f"{json.dumps(header)}\n".encode(), *lines[1:]])
    with pytest.raises(CannotVerify, match="no header"):
        verified(log, [])
    _, told = verified(log, [lines[0], *foreign[1:]])
    assert sum("is another tenant's" in text for text in told) == 2


def test_notes_and_keys_are_those_of_the_specification(log: ScratchLog) -> None:
    key = Key.parse(PUBLIC_KEY)
    with pytest.raises(CannotVerify, match="no checkpoint"):
        Checkpoint.open(PUBLIC_NOTE, [key])
    with pytest.raises(CannotVerify, match="is not what PeterNeumann has signed"):
        Checkpoint.open(PUBLIC_NOTE.replace("If", "if"), [key])
    for wrong in (PUBLIC_KEY.replace("c7", "c8"), PUBLIC_KEY.replace("+A", "+B"), "key", "a+b+c"):
        with pytest.raises(CannotVerify, match=r"no .*verifier key"):
            Key.parse(wrong)
    head = TreeHead(new_id(), 3, bytes(32))
    note = log.keys.sign(head) + "\N{EM DASH} witness.example AAAAAAAA\n"
    opened = Checkpoint.open(note, [key, Key.parse(log.keys.current.verifier_key)])
    assert (opened.origin, opened.size, opened.root) == (f"plinth.dev/audit/{head.tenant_id}", 3, bytes(32))


def test_it_stands_alone(log: ScratchLog, tmp_path: Path) -> None:
    tree = ast.parse(PROGRAM.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"cryptography"}
    tenant_id = new_id()
    log.sealed(tenant_id, 5)
    lines = exported(log, tenant_id)
    keys, export = tmp_path / "keys", tmp_path / "export.jsonl"
    keys.write_text(f"{PUBLIC_KEY}\n\n{log.keys.current.verifier_key}\n")
    export.write_bytes(b"".join(lines))
    command = [sys.executable, "-I", str(PROGRAM), "--key", str(keys)]
    done = subprocess.run([*command, str(export)], capture_output=True, text=True, check=False, timeout=2 * PATIENCE)
    expected = f"5 entries are those that plinth.dev/audit/{tenant_id} sealed, as of 5: no fault\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    wrong = b"".join(lines).replace(b'"OK"', b'"KO"', 1)
    refused = subprocess.run([*command, "-"], input=wrong, capture_output=True, check=False, timeout=2 * PATIENCE)
    assert refused.returncode == 1
    assert refused.stdout.startswith(b"line 2: entry ")


def test_its_exit_status_tells(log: ScratchLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tenant_id, export = new_id(), tmp_path / "export.jsonl"
    log.sealed(tenant_id, 2)
    lines = exported(log, tenant_id)
    export.write_bytes(b"".join(lines))
    key = log.keys.current.verifier_key
    assert verify.main([str(export), "--key", key]) == 0
    assert verify.main([str(export), "--key", PUBLIC_KEY]) == 2
    assert verify.main([str(export), "--key", "nothing"]) == 2
    assert verify.main([str(tmp_path / "absent"), "--key", key]) == 2
    assert capsys.readouterr().err.count("cannot be verified") == 3
    export.write_bytes(b"".join(lines[:-1]))
    assert verify.main([str(export), "--key", key]) == 1
    assert capsys.readouterr().out.endswith("1 fault\n")


def test_memory_does_not_depend_on_how_much_is_verified(log: ScratchLog) -> None:
    tenant_id = new_id()
    log.sealed(tenant_id, 1)
    header, line = exported(log, tenant_id)
    record = json.loads(line)
    note = log.keys.sign(TreeHead(tenant_id, 10_000, bytes(32)))

    def lines() -> Iterator[bytes]:
        yield changed(header, lambda head: head.update(checkpoint=note, tree_size=10_000))
        for index in range(800):
            yield changed(line, lambda _: _.update(leaf_index=index))  # noqa: B023 - called at once

    told: list[str] = []
    tracemalloc.start()
    verification = Verification([Key.parse(log.keys.current.verifier_key)], told.append)
    verification.run(lines())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (verification.proved, len(told)) == (800, 1)
    assert peak < 512 * 1024
    assert base64.b64decode(record["hash"]) == verify.leaf_hash(record["entry"])
