"""`plinth new`: what it refuses, and that what it writes in a copy of the sources is well-formed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.faults import Fault
from server.scaffold.fields import parse
from server.scaffold.write import _sortable, new
from tests.stack import free_of_settings

ROOT = Path(__file__).parents[2]
VEHICLE = ("zoo.Okapi", "registration:text!?unique", "status:enum", "price:money")
REFUSED = {
    "no resource": (("vehicle", "a:text"), "`vehicle`: a resource is written domain.Resource"),
    "a name that exists": (("sites.Page", "a:text"), "`sites.Page`: proto/plinth/sites/v1/page.proto is there already"),
    "a reserved word": (("zoo.Okapi", "message:text"), "`message:text`: `message` is a reserved word"),
    "an unknown type": (("zoo.Okapi", "a:float"), "`a:float`: `float` is no type"),
    "a field of the kernel": (("zoo.Okapi", "etag:text"), "`etag:text`: every resource has `etag`"),
    "a field twice": (("zoo.Okapi", "a:text", "a:int"), "`a`: a field of that name is there already"),
    "no field": (("zoo.Okapi",), "`zoo.Okapi`: a resource has at least one field"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_by_its_argument(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(Fault) as caught:
        new(arguments[0], arguments[1:])
    assert str(caught.value).startswith(words)


def test_what_fails_halfway_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(ROOT / "server", tmp_path / "server", ignore=shutil.ignore_patterns("__pycache__"))
    before = contents(tmp_path)

    def fail(*_: object) -> None:
        assert contents(tmp_path) != before
        raise Fault("planted")

    monkeypatch.setattr("server.scaffold.write.table_revision", fail)
    with pytest.raises(Fault, match="planted"):
        new("zoo.Okapi", ["name:text!"], root=tmp_path)
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file, but for what tools keep."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".ruff_cache" not in path.parts)
    return {path: path.read_bytes() for path in files}


def test_lists_are_sorted_by_one_text_alone() -> None:
    fields = [parse(argument) for argument in ("title:text!", "subtitle:text", "mileage:int", "day:date", "due:date!")]
    assert _sortable(fields) == ["title", "mileage", "due"]


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_what_is_written_passes_the_checks_and_the_app_composes(tmp_path: Path) -> None:
    for name in ("server", "proto", "clients", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = os.pathsep.join((str(tmp_path), str(tmp_path / "clients/python/src")))
    environment = free_of_settings(dict(os.environ)) | {"PYTHONPATH": path}

    def run(*command: str) -> None:
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("-m", "server", "new", *VEHICLE)
    run("-m", "server", "new", "zoo.Template", "title:text!", "owner:ref(identity.User)", "notes:json", "tags:texts")
    run("-m", "server", "new", "aviary.Template", "title:text!", "due:time", "active:bool", "mileage:int", "day:date")
    run("clients/generate.py")
    run("-m", "ruff", "check", "server", "tests/domains")
    run("-m", "ruff", "format", "--check", "server", "tests/domains")
    run("-m", "mypy", *(f"server/domains/{domain}" for domain in ("zoo", "aviary")))
    run("-c", "from server import app, modules; app.policies(); modules.check(descriptors=app.descriptors())")
    # What becomes of each column when a person is erased is decided.
    run("-m", "pytest", "-n", "0", "-q", "tests/privacy/test_decisions.py")
