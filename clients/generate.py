"""Build everything that is generated from proto/: the Python stubs, the typed clients and the descriptor set.

usage: generate.py                      build clients/python/src
       generate.py --check              fail when what is built is not what proto/ gives now
       generate.py --image-of REV FILE  build only the descriptor set, from the protos of a git revision

The descriptor set carries source info and every import, google.rpc details and buf.validate included: Envoy, buf,
reflection and the sweeps all read this one file.
"""

import argparse
import filecmp
import io
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
# This is run as a script, whose folder is the only one that Python knows.
sys.path.insert(0, str(ROOT))

from clients.typed_clients import write_clients  # noqa: E402

OUTPUT = ROOT / "clients" / "python" / "src"
IMAGE = OUTPUT / "plinth" / "descriptors.binpb"
# Third-party protos that nothing imports but that travel in `Any`: error details, which Envoy must know to print.
CARRIED = ("google/rpc/error_details.proto", "google/rpc/status.proto")
# The package beside the generated ones that is written by hand: generation leaves it alone.
WRITTEN = Path("plinth", "client")
# Emitted as Python as well, because no installed package has it for google.protobuf.
VALIDATE = "buf/validate/validate.proto"
# How protoc and its gRPC plugin begin what they write.
GRPC_CHECK = re.compile(r"^GRPC_GENERATED_VERSION = .*?^    \)\n", re.DOTALL | re.MULTILINE)
PROTOBUF_CHECK = re.compile(
    r"^from google\.protobuf import runtime_version .*?\n|^_runtime_version\.Validate.*?^\)\n", re.DOTALL | re.MULTILINE
)


def validate_set(folder: Path) -> Path:
    """Write buf/validate/validate.proto, which protovalidate ships as a descriptor only, as a descriptor set."""
    protos = descriptor_pb2.FileDescriptorSet()
    for name in (
        "google/protobuf/descriptor.proto",
        "google/protobuf/duration.proto",
        "google/protobuf/timestamp.proto",
        "google/protobuf/field_mask.proto",
    ):
        # Protoc takes imports of a set from the set alone, so its own imports travel with it.
        bundled = folder / "bundled.binpb"
        run_protoc(f"--proto_path={files('grpc_tools') / '_proto'}", f"--descriptor_set_out={bundled}", name)
        protos.file.extend(descriptor_pb2.FileDescriptorSet.FromString(bundled.read_bytes()).file)
    protos.file.append(descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary()))
    path = folder / "validate.binpb"
    path.write_bytes(protos.SerializeToString())
    return path


def run_protoc(*arguments: str) -> None:
    """Run protoc; its own words are on standard error when it fails."""
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit(f"protoc failed: {' '.join(arguments[-3:])}")


def sources(protos: Path) -> list[str]:
    """Every proto of ours, by import path, in a stable order."""
    return sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))


def googleapis() -> Path:
    """The folder that has the sources of googleapis, such as google/api/http.proto."""
    import google.rpc  # noqa: PLC0415 - only its place on disk is asked for

    return Path(next(iter(google.rpc.__path__))).parent.parent


def common_arguments(protos: Path, folder: Path) -> list[str]:
    """Where protoc finds our protos, those of googleapis, those of protobuf, and validate.proto."""
    return [
        f"--proto_path={protos}",
        f"--proto_path={googleapis()}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        f"--descriptor_set_in={validate_set(folder)}",
    ]


def build_image(protos: Path, output: Path) -> None:
    """Write the descriptor set of `protos`, with source info and all imports."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run_protoc(
            *common_arguments(protos, Path(folder)),
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={output}",
            *sources(protos),
            *CARRIED,
        )


def build_stubs(protos: Path, output: Path) -> None:
    """Write the Python messages and the gRPC stubs, with the types of both."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = common_arguments(protos, Path(folder))
        outputs = (f"--python_out={output}", f"--pyi_out={output}", f"--grpc_python_out={output}")
        run_protoc(*arguments, *outputs, *sources(protos), VALIDATE)
        typed = (
            f"--plugin=protoc-gen-mypy_grpc={grpc_types(Path(folder))}",
            f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{output}",
        )
        run_protoc(*arguments, *typed, *sources(protos))
    for path in output.rglob("*_pb2*.py"):
        path.write_text(without_version_checks(path.read_text()))
    for package in (output / "plinth", output / "buf"):
        (package / "py.typed").touch()


def grpc_types(folder: Path) -> Path:
    """Write what protoc calls for the types of gRPC stubs: mypy-protobuf of this environment, whatever PATH is."""
    path = folder / "protoc-gen-mypy_grpc"
    path.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c 'from mypy_protobuf.main import grpc; grpc()'\n")
    path.chmod(0o755)
    return path


def without_version_checks(text: str) -> str:
    """Generated code without its refusal of every gRPC and protobuf that is older than the generator.

    Nothing else of it depends on the version: tests/clients_python installs the oldest that clients may have.
    """
    if "GRPC_GENERATED_VERSION" in text:
        text = GRPC_CHECK.sub("", text)
        # A hint that gRPC takes since 1.63 only.
        text = re.sub(r",\s*_registered_method=True\)", ")", text)
    elif "_runtime_version" in text:
        text = PROTOBUF_CHECK.sub("", text)
    if "GENERATED_VERSION" in text or "_runtime_version" in text or "_registered_method=" in text:
        sys.exit("the generator writes its version checks in a form that generate.py does not know")
    return text


def build(output: Path) -> None:
    """Write stubs and descriptor set below `output`, and remove what no proto gives any more."""
    output.mkdir(parents=True, exist_ok=True)
    image = IMAGE.relative_to(OUTPUT)
    with tempfile.TemporaryDirectory() as folder:
        # Below the temporary folder, which is closed to others: copytree gives `output` the mode of its source.
        fresh = Path(folder) / "src"
        build_stubs(ROOT / "proto", fresh)
        build_image(ROOT / "proto", fresh / image)
        write_clients(descriptor_pb2.FileDescriptorSet.FromString((fresh / image).read_bytes()), fresh)
        for stale in set(generated(output)) - set(generated(fresh)):
            (output / stale).unlink()
        shutil.copytree(fresh, output, copy_function=copy_if_different, dirs_exist_ok=True)
    # For make, which compares times.
    (output / image).touch()


def copy_if_different(source: str, target: str) -> None:
    """Leave a file alone that is the same already: a process may be about to import it."""
    if not (Path(target).exists() and filecmp.cmp(source, target, shallow=False)):
        shutil.copy(source, target)


def generated(folder: Path) -> dict[Path, bytes]:
    """What generation made below a folder, by relative path."""
    kinds = (".py", ".pyi", ".binpb")
    found = (path for path in folder.rglob("*") if path.suffix in kinds and "egg-info" not in str(path))
    written = folder / WRITTEN
    return {path.relative_to(folder): path.read_bytes() for path in found if written not in path.parents}


def stale_files() -> str | None:
    """A message naming what is not as proto/ gives it now, or None."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder) / "src")
        fresh, present = generated(Path(folder) / "src"), generated(OUTPUT)
    different = sorted(str(path) for path in fresh.keys() | present.keys() if fresh.get(path) != present.get(path))
    return f"generated code is stale, run `make generate`: {', '.join(different)}" if different else None


def export_protos(revision: str, folder: Path) -> Path:
    """Write the proto/ folder of a git revision below `folder`."""
    command = ["git", "-C", str(ROOT), "archive", "--format=zip", revision, "proto"]
    archive = subprocess.run(command, capture_output=True, check=True)
    # No tar: safe extraction of one needs Python 3.11.4.
    with zipfile.ZipFile(io.BytesIO(archive.stdout)) as files_of_revision:
        files_of_revision.extractall(folder)
    return folder / "proto"


def main() -> None:
    """Build what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--image-of", nargs=2, metavar=("REV", "FILE"))
    options = parser.parse_args()
    if options.image_of:
        revision, output = options.image_of
        with tempfile.TemporaryDirectory() as folder:
            build_image(export_protos(revision, Path(folder)), Path(output))
        return
    if options.check:
        sys.exit(stale_files())
    build(OUTPUT)


if __name__ == "__main__":
    main()
