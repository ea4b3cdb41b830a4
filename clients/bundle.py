"""The contract for callers without this repository: our .proto files with every import, in one folder or archive.

usage: python -m clients.bundle [FOLDER]   write FOLDER (.plinth/protos) and FOLDER.tar.gz

The folder is an import path as it stands: `protoc -I protos plinth/sites/v1/page.proto`, `buf build protos`, and
`includeDirs: ["protos"]` of @grpc/proto-loader need nothing else. The same contract gives the same bytes.
"""

import gzip
import io
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2

from clients.generate import CARRIED, ROOT, VALIDATE, build_image, googleapis, run_protoc, sources, validate_set
from clients.proto_source import proto_source

FOLDER = ROOT / ".plinth" / "protos"
README = """\
# Plinth's contract

The .proto files of Plinth below `plinth/`, and every file that they import below `google/` and `buf/`. This folder is
an import path: `protoc -I . plinth/sites/v1/page.proto`, `buf build .`, `includeDirs` of @grpc/proto-loader.

`google/` is of Google, `buf/` of Buf; both are under the Apache License 2.0.
"""
PRINTED = """\
// protovalidate's rules (https://github.com/bufbuild/protovalidate), Copyright Buf Technologies, Inc., under the
// Apache License 2.0. Printed from the descriptor that the Python package `protovalidate` has: it means the same as
// the original, and lacks its comments.

"""


def contents(protos: Path = ROOT / "proto") -> dict[str, bytes]:
    """Every file of the bundle by its path in it: the sources below `protos`, and those of all imports."""
    ours = {name: (protos / name).read_bytes() for name in sources(protos)}
    places = (googleapis(), Path(str(files("grpc_tools") / "_proto")))
    imported = {name: _source_of(name, places) for name in _imports(protos) - ours.keys()}
    return dict(sorted({"README.md": README.encode(), **ours, **imported}.items()))


def _imports(protos: Path) -> set[str]:
    """The names of all files that ours import, directly or not, and of those that travel in errors."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        build_image(protos, image)
        found = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    return {file.name for file in found.file} | {*CARRIED}


def _source_of(name: str, places: tuple[Path, ...]) -> bytes:
    if name == VALIDATE:
        return (PRINTED + validate_source()).encode()
    return next(path / name for path in places if (path / name).is_file()).read_bytes()


def validate_source() -> str:
    """The source of buf/validate/validate.proto. Ends the program if protoc does not read the same from it."""
    with tempfile.TemporaryDirectory() as folder:
        known = descriptor_pb2.FileDescriptorSet.FromString(validate_set(Path(folder)).read_bytes())
        source = proto_source(known, VALIDATE)
        path = Path(folder) / VALIDATE
        path.parent.mkdir(parents=True)
        path.write_text(source)
        compiled = Path(folder) / "compiled.binpb"
        run_protoc(
            f"--proto_path={folder}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--descriptor_set_out={compiled}",
            VALIDATE,
        )
        (read,) = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file
    if read != known.file[-1]:
        sys.exit(f"{VALIDATE} as clients/proto_source.py prints it differs from its descriptor")
    return source


def archive(bundle: Mapping[str, bytes]) -> bytes:
    """The files as a .tar.gz whose members stand below `protos/`. The same files give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(bundle.items()):
            member = tarfile.TarInfo(f"protos/{name}")
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def write(folder: Path, bundle: Mapping[str, bytes]) -> Path:
    """Write the files below `folder`, in place of an earlier bundle, and the archive beside it. Returns its path.

    Ends the program, and removes nothing, if the folder has other files.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "README.md").is_file() or (folder / "README.md").read_text() != README:
            sys.exit(f"{folder} is no earlier bundle: name a folder that is empty or not there yet")
        shutil.rmtree(folder)
    for name, content in bundle.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    packed = folder.with_name(f"{folder.name}.tar.gz")
    packed.write_bytes(archive(bundle))
    return packed


def main() -> None:
    """Write the bundle to the folder that the arguments name."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    packed = write(folder, contents())
    print(f"{folder} and {packed.name}: the contract with all its imports")


if __name__ == "__main__":
    main()
