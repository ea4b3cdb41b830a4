"""Changes of a deployment under write load: an upgrade, a rotation of the secret, hosts whose clocks are wrong.

What was acknowledged meanwhile is stored, audited, streamed and delivered once.
"""

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import grpc
import pytest

from tests.clients import new_tenant
from tests.domains.webhooks.receiver import Receiver
from tests.drill.doors import at_host, through_gateway
from tests.drill.hosts import Host
from tests.drill.load import Load
from tests.embedded import hosts as machines
from tests.embedded.engines import PASSWORD, password_redis, postgresql
from tests.faults.outages import well
from tests.stack import Stack, free_port, make_folder

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = "the old secret of the deployment, long enough", "the new secret of the deployment, long enough"
# The steps of docs/operating.md while sessions of the old secret last.
ROTATION = (
    {"secret_key": OLD, "secret_key_next": NEW},
    {"secret_key": NEW, "secret_key_next": "", "secret_key_previous": OLD},
)
MINUTE, HOUR = 60, 3600
# What v0.1.0 answers to calls that it has not begun when it ends.
CANCELLED = 499
# Their commits, since a checkout may have no tags.
RELEASES = {"v0.1.0": "611baa1b834f3ff230025fbcfabcb0cc4dd6e33e"}


# Upgrades ------------------------------------------------------------------------------------------------------------


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, timeout=60).stdout


def code_of(version: str, folder: Path) -> str:
    """The code of a released version, with its stubs, as PYTHONPATH takes it."""
    try:
        _git("cat-file", "-e", RELEASES[version])
    except subprocess.CalledProcessError:
        pytest.skip(f"the history of this checkout does not reach back to {version}: git fetch --unshallow")
    with tarfile.open(fileobj=BytesIO(_git("archive", RELEASES[version], "server", "clients", "proto"))) as archive:
        archive.extractall(folder, filter="data")
    generate = [sys.executable, str(folder / "clients" / "generate.py")]
    subprocess.run(generate, check=True, capture_output=True, timeout=120)
    return f"{folder}:{folder / 'clients' / 'python' / 'src'}"


def test_every_released_version_is_upgraded_from() -> None:
    assert set(_git("tag", "--list", "v*").decode().split()) <= RELEASES.keys()


@pytest.mark.parametrize("version", RELEASES)
def test_an_upgrade_from_a_released_version(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder()
    stack = Stack(folder / "data", api_workers=1, log_level="ERROR")
    try:
        with monkeypatch.context() as earlier:
            earlier.setenv("PYTHONPATH", code_of(version, folder / "code"))
            stack.start()
        with Receiver() as receiver:
            tenant = new_tenant(stack)
            load = Load(tenant, receiver, doors=[through_gateway(tenant, CANCELLED)])
            with load.running():
                load.grows()
                stack.stop()
                # It migrates before it serves.
                stack.start()
                load.grows()
            load.check()
        well(stack)
    finally:
        stack.remove()


# Rotations -----------------------------------------------------------------------------------------------------------


def test_a_rotation_of_the_secret_machine_by_machine() -> None:
    folder = make_folder()
    with ExitStack() as opened:
        cluster = opened.enter_context(postgresql(folder, free_port()))
        cache = f"redis://:{PASSWORD}@127.0.0.1:{opened.enter_context(password_redis(folder))}/0"
        database = cluster.add_database("plinth")
        stack = Stack(api_workers=1, log_level="ERROR", secret_key=OLD, database_url=database, redis_url=cache)
        opened.callback(stack.remove)
        stack.start()
        other = machines.Host(folder / "other", DATABASE_URL=database, REDIS_URL=cache)
        opened.callback(other.stop)
        other.enter(secret_key=OLD)
        tenant, receiver = new_tenant(stack), opened.enter_context(Receiver())
        doors = [through_gateway(tenant), at_host(other.target, tenant.id, tenant.access_token)]
        load = Load(tenant, receiver, doors=doors)
        with load.running():
            for state in ROTATION:
                with other.working():
                    load.grows()
                    stack.stop()
                    stack.set(**state)
                    stack.start()
                    load.grows()
                # The other machine follows with all its processes, one state behind until then.
                other.enter(**{name: value for name, value in state.items() if value})
            with other.working():
                load.grows()
        load.check()
        well(stack)


# Clocks --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack whose host has the right time."""
    stack = Stack(api_workers=1, background_workers=1, log_level="ERROR")
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.mark.parametrize("ahead", [MINUTE, -MINUTE, HOUR, -HOUR], ids=lambda seconds: f"{seconds:+d}s")
def test_a_host_whose_clock_is_wrong(stack: Stack, ahead: int) -> None:
    host, tenant = Host(stack, ahead), new_tenant(stack)
    with ExitStack() as opened:
        opened.callback(host.remove)
        receiver = opened.enter_context(Receiver())
        opened.enter_context(host.running("serve", "--workers", "1"))
        opened.enter_context(host.running("worker", "--index", "7"))
        with grpc.insecure_channel(host.target) as channel:
            grpc.channel_ready_future(channel).result(60)
        doors = [through_gateway(tenant), at_host(host.target, tenant.id, tenant.access_token)]
        load = Load(tenant, receiver, doors=doors)
        with load.running():
            load.grows(200)
        load.check()
