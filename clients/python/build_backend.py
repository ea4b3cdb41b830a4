"""Build backend of the package `plinth`: setuptools, with the stubs generated first.

The stubs are not under version control; `plinth.client` beside them is. In a checkout, every wheel and every source
distribution is generated anew from ../../proto, so neither can be stale. A source distribution carries the stubs and
builds without the contract. An editable install takes the stubs that are there, and generates them when none are; with
`STUBS=later` in the environment it leaves that to `make generate`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from setuptools import build_meta

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
# The last thing that generation writes.
GENERATED = SOURCES / "plinth" / "descriptors.binpb"
GENERATOR = HERE.parent / "generate.py"
CONTRACT = HERE.parent.parent / "proto" / "plinth"
# What the generator imports, and the distributions that bring it. The versions are exact: what is generated depends on
# them, and generate.py knows how they write the version checks that it removes.
TOOLS = {
    "grpc_tools": "grpcio-tools==1.85.1",
    "mypy_protobuf": "mypy-protobuf==5.1.0",
    "google.rpc": "googleapis-common-protos==1.76.0",
    "protovalidate": "protovalidate==2.1.0",
}
# Where setuptools collects the files of a wheel. It would keep what an earlier build left there.
COLLECTED = HERE / "build"

Configuration = Mapping[str, Any] | None


def get_requires_for_build_wheel(config_settings: Configuration = None) -> list[str]:
    """Name what a wheel needs to be built, beside setuptools."""
    return _tools(anew=True)


def get_requires_for_build_sdist(config_settings: Configuration = None) -> list[str]:
    """Name what a source distribution needs to be built, beside setuptools."""
    return _tools(anew=True)


def get_requires_for_build_editable(config_settings: Configuration = None) -> list[str]:
    """Name what an editable install needs, beside setuptools."""
    return _tools(anew=False)


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Configuration = None) -> str:
    """Write the metadata of a wheel, which say nothing of the stubs."""
    SOURCES.mkdir(exist_ok=True)
    return str(build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings))


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Configuration = None) -> str:
    """Write the metadata of an editable install, which say nothing of the stubs."""
    SOURCES.mkdir(exist_ok=True)
    return str(build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings))


def build_wheel(
    wheel_directory: str, config_settings: Configuration = None, metadata_directory: str | None = None
) -> str:
    """Build a wheel of freshly generated stubs."""
    _generate(anew=True)
    return _collecting(lambda: str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)))


def build_sdist(sdist_directory: str, config_settings: Configuration = None) -> str:
    """Build a source distribution of freshly generated stubs."""
    _generate(anew=True)
    return str(build_meta.build_sdist(sdist_directory, config_settings))


def build_editable(
    wheel_directory: str, config_settings: Configuration = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel that points to the stubs in this folder."""
    _generate(anew=False)
    return _collecting(lambda: str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory)))


def _has_contract() -> bool:
    return GENERATOR.is_file() and CONTRACT.is_dir()


def _is_due(*, anew: bool) -> bool:
    """Whether stubs are to be generated: for a distribution always, unless it is built from a source distribution."""
    if anew:
        return _has_contract() or not GENERATED.exists()
    return not GENERATED.exists() and os.environ.get("STUBS") != "later"


def _tools(*, anew: bool) -> list[str]:
    return list(TOOLS.values()) if _is_due(anew=anew) and _has_contract() else []


def _generate(*, anew: bool) -> None:
    """Generate the stubs if that is due. Ends the build in words where they can neither be found nor made."""
    SOURCES.mkdir(exist_ok=True)
    if not _is_due(anew=anew):
        return
    if not _has_contract():
        sys.exit(
            f"plinth: {SOURCES} holds no stubs, and they cannot be generated: {CONTRACT} or {GENERATOR} is missing. "
            "Build in a whole checkout, or install a wheel or a source distribution."
        )
    missing = [distribution for module, distribution in TOOLS.items() if not _is_installed(module)]
    if missing:
        sys.exit(f"plinth: generating the stubs needs {', '.join(missing)}. Install that, or build in isolation.")
    if subprocess.run([sys.executable, str(GENERATOR)], check=False).returncode != 0:  # noqa: S603 - a script of this repository
        sys.exit(f"plinth: {GENERATOR} did not generate the stubs.")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _collecting(build: Callable[[], str]) -> str:
    shutil.rmtree(COLLECTED, ignore_errors=True)
    try:
        return build()
    finally:
        shutil.rmtree(COLLECTED, ignore_errors=True)
