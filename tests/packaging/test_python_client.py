"""The package of clients/python, built from what is under version control and installed as its users install it.

Nothing is fetched: the virtual environments see the packages of this one, but not its editable `plinth`.
"""

import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CLIENT = Path("clients", "python")
SITE_PACKAGES = sysconfig.get_path("purelib")
LOCKED = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
# Imports every module of the installed distribution, and tells how many there are and where they are.
IMPORT_ALL = """
import importlib, importlib.metadata, importlib.resources
files = importlib.metadata.files("plinth")
names = [".".join(file.with_suffix("").parts) for file in files if file.suffix == ".py" and "egg" not in str(file)]
for name in names:
    importlib.import_module(name.removesuffix(".__init__"))
package = importlib.resources.files("plinth")
assert package.joinpath("py.typed").is_file() and package.joinpath("descriptors.binpb").read_bytes()
assert importlib.resources.files("buf").joinpath("py.typed").is_file()
print(len(names), importlib.import_module("plinth.sites.v1.page_pb2").__file__)
"""
BUILD_SDIST = "import sys; sys.path.insert(0, '.'); import build_backend; print(build_backend.build_sdist(sys.argv[1]))"
heavy = pytest.mark.heavy
patient = pytest.mark.timeout(240)


def clone(target: Path) -> Path:
    """Copy the files that are under version control, or will be: a fresh clone."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "proto", "clients"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh clone."""
    return clone(tmp_path / "checkout")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that sees the packages of this one."""
    return make_environment(tmp_path_factory.mktemp("seeing") / "venv", SITE_PACKAGES)


def make_environment(folder: Path, *seen: str) -> Path:
    """A virtual environment with pip that also imports from these folders, after its own; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    # Python 3.11 brings a setuptools that does not know how licences are written today.
    for old in site_packages.glob("setuptools*"):
        shutil.rmtree(old)
    (site_packages / "seen.pth").write_text("\n".join(seen))
    return folder / "bin" / "python"


def pip_install(
    python: Path, *arguments: str | Path, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall"]
    return subprocess.run(
        [str(python), "-m", "pip", "install", *options, *map(str, arguments)],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def imported(python: Path) -> Path:
    """Import every module of the installed package; where they are."""
    found = subprocess.run(
        [str(python), "-I", "-c", IMPORT_ALL], capture_output=True, text=True, check=False, cwd=python.parent
    )
    assert found.returncode == 0, found.stderr
    count, _, place = found.stdout.strip().partition(" ")
    protos = list((ROOT / "proto").rglob("*.proto"))
    served = [path for path in protos if re.search(r"^service ", path.read_text(), re.MULTILINE)]
    written = list((ROOT / CLIENT / "src/plinth/client").rglob("*.py"))
    # Messages and gRPC stubs of each proto, and of the rules of validation; typed clients, and the list of them.
    assert int(count) == 2 * (len(protos) + 1) + len(served) + 1 + len(written)
    return Path(place)


@heavy
@patient
def test_a_wheel_of_a_fresh_clone_has_every_stub(checkout: Path, python: Path) -> None:
    done = pip_install(python, f"./{CLIENT}", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert imported(python).is_relative_to(python.parent.parent)
    assert not (checkout / CLIENT / "build").exists()


@heavy
@patient
def test_a_wheel_has_no_stub_that_the_contract_no_longer_gives(checkout: Path, python: Path) -> None:
    for folder in (Path("src"), Path("build") / "lib"):
        stale = checkout / CLIENT / folder / "plinth" / "gone" / "v1" / "gone_pb2.py"
        stale.parent.mkdir(parents=True)
        stale.write_text("raise ImportError")
    shutil.copy(ROOT / CLIENT / "src/plinth/descriptors.binpb", checkout / CLIENT / "src/plinth/descriptors.binpb")
    done = pip_install(python, f"./{CLIENT}", cwd=checkout)
    assert done.returncode == 0, done.stderr
    imported(python)


@heavy
@patient
def test_a_source_distribution_needs_no_contract(checkout: Path, python: Path, tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-c", BUILD_SDIST, str(tmp_path)],
        cwd=checkout / CLIENT,
        capture_output=True,
        text=True,
        check=True,
    )
    archive = tmp_path / built.stdout.split()[-1]
    shutil.rmtree(checkout)
    # No tarfile: how it extracts safely differs between versions of Python.
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(tmp_path)], check=True)
    folder = tmp_path / archive.name.removesuffix(".tar.gz")
    assert {"README.md", "LICENSE", "PKG-INFO", "pyproject.toml", "build_backend.py"} <= {
        path.name for path in folder.iterdir()
    }
    for source in (archive, folder):
        done = pip_install(python, source, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert imported(python).is_relative_to(python.parent.parent)


@heavy
@patient
def test_an_editable_install_generates_once(checkout: Path, python: Path) -> None:
    assert pip_install(python, "-e", f"./{CLIENT}", cwd=checkout).returncode == 0
    place = subprocess.run(
        [str(python), "-I", "-c", "from plinth.sites.v1 import page_pb2 as p, page_pb2_grpc; print(p.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert place.stdout.startswith(str(checkout / CLIENT / "src"))
    (checkout / "clients" / "generate.py").write_text("raise SystemExit('generated again')")
    assert pip_install(python, "-e", f"./{CLIENT}", cwd=checkout).returncode == 0


@heavy
@patient
def test_an_editable_install_can_leave_generation_to_make(checkout: Path, python: Path) -> None:
    done = pip_install(python, "-e", f"./{CLIENT}", cwd=checkout, environment={"STUBS": "later"})
    assert done.returncode == 0, done.stderr
    assert not list((checkout / CLIENT / "src").rglob("*_pb2.py"))


@heavy
@patient
@pytest.mark.parametrize("how", [[], ["-e"]], ids=["wheel", "editable"])
def test_without_stubs_and_contract_it_fails_in_words(checkout: Path, python: Path, how: list[str]) -> None:
    shutil.rmtree(checkout / "proto")
    done = pip_install(python, *how, f"./{CLIENT}", cwd=checkout)
    assert done.returncode != 0
    assert "holds no stubs, and they cannot be generated" in done.stderr
    assert "Traceback" not in done.stderr


@heavy
@patient
def test_without_the_generator_it_fails_in_words(checkout: Path, tmp_path: Path) -> None:
    seen = tmp_path / "only-setuptools"
    seen.mkdir()
    for path in Path(SITE_PACKAGES).glob("setuptools*"):
        (seen / path.name).symlink_to(path)
    python = make_environment(tmp_path / "venv", str(seen))
    done = pip_install(python, f"./{CLIENT}", cwd=checkout)
    assert done.returncode != 0
    assert f"generating the stubs needs grpcio-tools=={LOCKED['grpcio-tools']}" in done.stderr
    assert "Traceback" not in done.stderr


@heavy
@patient
def test_generated_folders_and_files_are_open_to_other_users(checkout: Path) -> None:
    # Those of an older checkout are healed.
    (checkout / CLIENT / "src").chmod(0o700)
    subprocess.run([sys.executable, "clients/generate.py"], cwd=checkout, check=True, umask=0o022)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (checkout / CLIENT / "src").rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in (checkout / CLIENT / "src").rglob("*") if path.is_dir()}
    assert (modes, folders) == ({0o644}, {0o755})
    assert stat.S_IMODE((checkout / CLIENT / "src").stat().st_mode) == 0o755


def test_the_generator_is_pinned_to_the_versions_of_the_lock() -> None:
    hooks = "import build_backend; print('\\n'.join(build_backend.get_requires_for_build_wheel()))"
    asked = subprocess.run(
        [sys.executable, "-c", hooks], cwd=ROOT / CLIENT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert asked == [
        f"{name}=={LOCKED[name]}"
        for name in ("grpcio-tools", "mypy-protobuf", "googleapis-common-protos", "protovalidate")
    ]


def test_generated_code_takes_older_versions_than_its_generator() -> None:
    for path in (ROOT / CLIENT / "src").rglob("*_pb2*.py"):
        for check in ("GRPC_GENERATED_VERSION", "ValidateProtobufRuntimeVersion", "_registered_method="):
            assert check not in path.read_text(), path
