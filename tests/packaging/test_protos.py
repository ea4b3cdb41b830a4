"""The contract as those use it who do not have this repository: `make protos`, in an empty folder, with their tools."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.contract.contract import real
from tests.node import packages
from tests.packaging.bundles import ROOT, run_protoc, write_bundle
from tests.stack import Stack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(2 * packages.INSTALLING)]
IMAGE = ROOT / "clients/python/src/plinth/descriptors.binpb"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `protos`, with the archive beside it."""
    folder = tmp_path_factory.mktemp("bundle") / "protos"
    done = write_bundle(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def empty(bundle: Path, tmp_path: Path) -> Path:
    """A folder in which nothing is but `protos`."""
    shutil.copytree(bundle, tmp_path / "empty" / "protos")
    return tmp_path / "empty"


def files_of(image: Path) -> dict[str, FileDescriptorProto]:
    """The files of a descriptor set, by name."""
    return {file.name: file for file in FileDescriptorSet.FromString(image.read_bytes()).file}


def test_protoc_reads_what_plinth_itself_serves_by_with_every_comment(empty: Path) -> None:
    ours = sorted(str(path.relative_to(empty / "protos")) for path in (empty / "protos/plinth").rglob("*.proto"))
    options = ["-Iprotos", "--include_imports", "--include_source_info", "--descriptor_set_out=image.binpb"]
    run_protoc(empty, *options, *ours)
    read, served = files_of(empty / "image.binpb"), files_of(IMAGE)
    assert {name for name in served if name.startswith("plinth/")} == set(ours)
    for name, file in read.items():
        if not name.startswith("plinth/"):
            # The sources of others have comments that their descriptors in our set may lack.
            file.ClearField("source_code_info")
            served[name].ClearField("source_code_info")
        assert file == served[name], name


def test_buf_builds_it(empty: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("buf")), "build", "protos", "-o", "image.binpb"],
        cwd=empty,
        env={"HOME": str(empty)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert files_of(empty / "image.binpb").keys() == files_of(IMAGE).keys()


@packages.needs_npm
def test_a_program_in_node_calls_plinth_with_nothing_but_the_files(empty: Path, stack: Stack) -> None:
    found = packages.run("proto_loader.mjs", empty, stack.target)
    assert set(found["services"]) == {service.full_name for service in real().services}
    assert found["status"] == "STATUS_SERVING"


@packages.needs_npm
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_a_program_in_node_needs_no_file_where_it_may_ask(tmp_path: Path, stack: Stack, version: str) -> None:
    found = packages.run("reflection.mjs", tmp_path, stack.target, version)
    assert set(found["services"]) >= {service.full_name for service in real().services}
    assert {"GetPage", "CreatePage", "ListPages"} <= set(found["methods"])
    assert "Page" in found["types"]


def test_the_same_contract_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    assert write_bundle(tmp_path / "protos").returncode == 0
    archive = bundle.with_name("protos.tar.gz")
    assert archive.read_bytes() == (tmp_path / "protos.tar.gz").read_bytes()
    with tarfile.open(archive) as packed:
        content = {member.name: packed.extractfile(member).read() for member in packed}  # type: ignore[union-attr]
    written = [path for path in bundle.rglob("*") if path.is_file()]
    assert content == {f"protos/{path.relative_to(bundle)}": path.read_bytes() for path in written}


def test_an_earlier_bundle_is_replaced_and_nothing_else_is_removed(bundle: Path, tmp_path: Path) -> None:
    old = tmp_path / "protos"
    shutil.copytree(bundle, old)
    (old / "plinth/gone.proto").touch()
    assert write_bundle(old).returncode == 0
    assert not (old / "plinth/gone.proto").exists()
    foreign = tmp_path / "work"
    foreign.mkdir()
    (foreign / "mine.txt").touch()
    done = write_bundle(foreign)
    assert done.returncode != 0
    assert "is no earlier bundle" in done.stderr
    assert [path.name for path in foreign.iterdir()] == ["mine.txt"]
