"""Stubs for JavaScript, made of `make protos` as its users make them."""

from pathlib import Path

from tests.node import packages
from tests.packaging.bundles import run_protoc, write_bundle


def generate_stubs(folder: Path) -> None:
    """Write the stubs of the whole contract below `gen`, as its users do."""
    assert write_bundle(folder / "protos").returncode == 0
    # Those of protobuf itself come with @bufbuild/protobuf.
    names = [str(path.relative_to(folder / "protos")) for path in (folder / "protos").rglob("*.proto")]
    wanted = sorted(name for name in names if not name.startswith("google/protobuf/"))
    plugin = packages.installed() / ".bin" / "protoc-gen-es"
    (folder / "gen").mkdir()
    run_protoc(
        folder,
        "-Iprotos",
        f"--plugin=protoc-gen-es={plugin}",
        "--es_out=gen",
        "--es_opt=target=js,import_extension=js",
        *wanted,
    )
