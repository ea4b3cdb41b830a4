"""A database that comes back in another cluster, or as it was before, under processes that go on running."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from server.embedded.engines import POSTGRES, find
from tests.clients import Tenant, new_tenant, reason
from tests.domains.webhooks.receiver import Receiver
from tests.drill.load import Load
from tests.embedded.engines import Cluster, postgresql
from tests.stack import PATIENCE, Stack, free_port, make_folder, wait_for
from tests.streams import sse

pytestmark = pytest.mark.heavy

# So that the transactions of a cluster that is made anew have smaller numbers for long.
OLDER = 30_000
GROW_OLDER = f"DO $$ BEGIN FOR n IN 1..{OLDER} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"


STATE = (
    "SELECT plinth_log_base(), plinth_log_horizon(), plinth_log_horizon_here(), pg_current_snapshot()",
    "SELECT transaction_id, sequence, type, create_time FROM events ORDER BY 1 DESC, 2 DESC LIMIT 30",
    "SELECT pid, application_name, state, backend_xid, backend_xmin, xact_start FROM pg_stat_activity",
)


@dataclass
class Host:
    """The machine of the database, always at the same port."""

    folder: Path
    port: int = field(default_factory=free_port)
    _running: ExitStack = field(default_factory=ExitStack)

    def start(self, cluster: str) -> Cluster:
        """Serve the cluster of this name, which is made if there is none."""
        return self._running.enter_context(postgresql(self.folder / cluster, self.port))

    def stop(self) -> None:
        """End PostgreSQL in good order."""
        self._running.close()

    def program(self, name: str, *arguments: str) -> None:
        """Run a program of PostgreSQL as its superuser."""
        subprocess.run([find(POSTGRES).parent / name, *arguments], check=True, capture_output=True, timeout=PATIENCE)


@dataclass
class Place:
    """A stack whose database is about to be lost, with somebody who watches it through each of its doors."""

    host: Host
    stack: Stack
    tenant: Tenant
    receiver: Receiver
    before: str
    """The last event before the backup."""

    def publish(self, slug: str) -> str:
        """Make a page as soon as the database is back; its event's id once the webhook has got it."""

        def made() -> bool:
            answer = self.tenant.rest.post(f"{self.tenant.path}/pages", {"title": slug, "slug": slug})
            return answer.status_code in {201, 409}

        wait_for(made, what=f"the page {slug}")
        wait_for(lambda: slug in self.delivered(), what=f"the webhook's message of {slug}")
        with psycopg.connect(self.stack.settings.dispatch_dsn) as connection:
            return str(connection.execute(sse.LOGGED.encode(), (self.tenant.id,)).fetchall()[-1][0])

    def delivered(self) -> list[str]:
        """The slugs of the pages that the webhook's receiver was told of."""
        return [message.content["data"]["slug"] for message in self.receiver.messages("/pages")]

    def seen_after(self, event_id: str, last: str) -> list[str]:
        """The slugs that a client which resumes after an event is told of, up to one."""
        seen: list[str] = []
        until = time.monotonic() + PATIENCE
        with sse.listening(self.tenant, headers=sse.after(event_id)) as reader:
            while last not in seen:
                frame = reader.next()
                if not frame.is_comment:
                    seen.append(frame.data["slug"])
                assert time.monotonic() < until, f"{last} did not come after {seen}\n{self.state()}"
        return seen

    def state(self) -> str:
        """What the log holds, and what may hold its readers back."""
        with psycopg.connect(self.stack.settings.dispatch_dsn) as connection:
            found = [connection.execute(query).fetchall() for query in STATE]
        return "\n".join(map(str, found))

    def refusal_after(self, event_id: str) -> tuple[int, str]:
        """What a client is answered that resumes after an event."""
        headers = sse.after(event_id)
        with sse.connect(self.stack, self.tenant.id, self.tenant.access_token, headers=headers) as refused:
            assert refused.response.status_code != 200
            refused.response.read()
            return reason(refused.response)

    def is_sealed(self) -> bool:
        """Whether the newest checkpoint covers all of the tenant's audit entries."""
        with psycopg.connect(self.stack.settings.dispatch_dsn) as connection:
            row = connection.execute(
                "SELECT count(*) = (SELECT max(tree_size) FROM audit_checkpoints WHERE tenant_id = %(tenant)s)"
                "  FROM audit_entries WHERE tenant_id = %(tenant)s",
                {"tenant": self.tenant.id},
            ).fetchone()
        return row == (True,)

    def epoch(self) -> int:
        """The one that has begun."""
        with psycopg.connect(self.stack.settings.dispatch_dsn) as connection:
            row = connection.execute("SELECT plinth_log_base() >> 42").fetchone()
        return int((row or (0,))[0])


@pytest.fixture
def place() -> Iterator[Place]:
    folder = make_folder()
    host = Host(folder)
    cluster = host.start("first")
    cluster.administer(GROW_OLDER)
    url = cluster.add_database("plinth")
    stack = Stack(folder / "stack" / "data", api_workers=1, database_url=url)
    try:
        with Receiver() as receiver:
            stack.start()
            tenant = new_tenant(stack)
            answer = tenant.rest.post(
                f"{tenant.path}/webhooks", {"url": receiver.url("/pages"), "eventTypes": ["page.*"]}
            )
            assert answer.status_code == 201, answer.text
            place = Place(host, stack, tenant, receiver, "")
            place.before = place.publish("before")
            yield place
    finally:
        stack.remove()
        host.stop()
        shutil.rmtree(folder, ignore_errors=True)


def goes_on(place: Place, lost: str) -> None:
    """Everybody hears of what happens now, and clients that know of what was lost are told so."""
    place.publish("now")
    assert place.seen_after(place.before, "now")[-1] == "now"
    assert place.refusal_after(lost) == (400, "EVENT_UNKNOWN")
    wait_for(place.is_sealed, what="the seal")


def test_a_dump_in_a_younger_cluster(place: Place) -> None:
    load = Load(place.tenant, place.receiver)
    dump = place.host.folder / "dump"
    first = f"--dbname={Cluster(place.host.folder / 'first' / 'socket', place.host.port).administrator('plinth')}"
    place.host.program("pg_dump", first, "--format=custom", f"--file={dump}")
    place.host.program("pg_dumpall", first, "--globals-only", f"--file={dump}.roles")
    lost = place.publish("lost")
    with load.running():
        load.grows()
        place.host.stop()
        known = len(load.acknowledged)
        cluster = place.host.start("second")
        cluster.administer("CREATE DATABASE plinth OWNER keeper")
        place.host.program("psql", "--quiet", f"--dbname={cluster.administrator()}", f"--file={dump}.roles")
        target = f"--dbname={cluster.administrator('plinth')}"
        place.host.program("pg_restore", "--single-transaction", target, str(dump))
        load.grows()
    load.check(known, streamed=False)
    goes_on(place, lost)
    assert place.epoch() > 0


def test_a_recovery_to_an_earlier_moment(place: Place) -> None:
    """What was recovered has a timeline of its own."""
    lost = _put_back(place, is_recovered=True)
    goes_on(place, lost)
    assert place.epoch() > 0


def test_a_copy_of_the_disk_from_before(place: Place) -> None:
    """Nothing in the database tells of it; processes and clients find out by what they know."""
    with sse.listening(place.tenant) as reader:
        lost = _put_back(place, is_recovered=False)
        last = reader.rest()[-1]
    assert last.event == "stream.error"
    goes_on(place, lost)


def test_an_epoch_that_is_begun_by_hand(place: Place) -> None:
    command = [sys.executable, "-m", "server", "migrate", "--new-epoch"]
    url = place.stack.settings.owner_dsn
    environment = os.environ | {"PLINTH_DATABASE_URL": url, "PLINTH_DATA_DIR": str(place.stack.data_dir)}
    subprocess.run(command, env=environment, check=True, timeout=PATIENCE)
    place.publish("now")
    assert place.seen_after(place.before, "now")[-1] == "now"
    assert place.epoch() > 0


def _put_back(place: Place, *, is_recovered: bool) -> str:
    """Let the database be what it was before some events; the last of those."""
    folder = place.host.folder / "first"
    place.host.stop()
    subprocess.run(["cp", "-a", folder / "postgres", folder / "copy"], check=True, timeout=PATIENCE)
    place.host.start("first")
    lost = [place.publish(f"lost-{number}") for number in range(20)][-1]
    place.host.stop()
    shutil.rmtree(folder / "postgres")
    (folder / "copy").rename(folder / "postgres")
    if is_recovered:
        settings = folder / "postgres" / "postgresql.auto.conf"
        settings.write_text("restore_command = 'false'\n")
        (folder / "postgres" / "recovery.signal").touch()
    place.host.start("first")
    return lost
