"""Generations: what was kept before a change is served by no process after it, and by no other host after a window."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.breaker import Breaker
from server.adapters.generations import PREFIX, RedisGenerations
from server.kernel.caching import generations
from server.kernel.caching.generations import (
    EVERYTHING,
    LONGEST_WRITE_NS,
    SLOTS,
    WINDOW_NS,
    Generations,
    GenerationsAway,
    new_value,
    slot_of,
)
from tests.clients import unique
from tests.stack import Stack, wait_for

PAGES, ROLES = "tenant:1:pages", "tenant:1:roles"
TAGS = [f"tenant:{number}:{kind}" for number in range(20) for kind in ("pages", "roles")]


class Clock:
    """Time that stands still until it is moved, in nanoseconds."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        return self.now

    def pass_window(self) -> None:
        self.now += WINDOW_NS


class Remote:
    """Redis as generations see it."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.is_away = False
        self.reads = 0
        self.tried_writes = 0

    def read(self, slots: Sequence[int]) -> list[int]:
        self.reads += 1
        if self.is_away:
            raise GenerationsAway
        return [self.values.setdefault(slot, new_value()) for slot in slots]

    def write(self, values: dict[int, int]) -> None:
        self.tried_writes += 1
        if self.is_away:
            raise GenerationsAway
        self.values.update(values)


Keep = Callable[[], bool]


def opened(path: Path, remote: Remote | RedisGenerations | None = None) -> Generations:
    """The generations of a process on the host that has this file."""
    made = Generations(path, remote)
    made.open()
    return made


def kept(process: Generations, *tags: str) -> Keep:
    """Keep something under these tags; whether it may still be served."""
    slots = process.slots(tags)
    stamp = process.stamp(slots)
    assert stamp is not None
    assert process.is_current(slots, stamp)
    return lambda: process.is_current(slots, stamp)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(generations, "monotonic_ns", clock)
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "generations"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Generations:
    """A process for many examples."""
    return opened(tmp_path_factory.mktemp("host") / "generations")


@pytest.fixture
def remote() -> Remote:
    return Remote()


@pytest.fixture
def hosts(tmp_path: Path, remote: Remote) -> Iterator[tuple[Generations, Generations]]:
    yield opened(tmp_path / "one", remote), opened(tmp_path / "other", remote)
    # What still waits to be sent would be tried for ever.
    remote.is_away = False


# One host ------------------------------------------------------------------------------------------------------------


def test_processes_of_a_host_see_each_others_changes(path: Path) -> None:
    one, other = opened(path), opened(path)
    pages, roles = kept(one, PAGES), kept(one, ROLES)
    other.invalidate([PAGES])
    assert not pages()
    assert roles()
    assert kept(one, PAGES)()


def test_what_stands_under_several_tags_is_dropped_by_each(path: Path) -> None:
    process = opened(path)
    for tag in (PAGES, ROLES):
        both = kept(process, PAGES, ROLES)
        process.invalidate([tag])
        assert not both()


def test_a_process_that_starts_later_finds_the_generations_as_they_are(path: Path) -> None:
    first = opened(path)
    first.invalidate([PAGES])
    pages = kept(first, PAGES)
    second = opened(path)
    assert pages()
    assert kept(second, PAGES)()
    second.invalidate([PAGES])
    assert not pages()


@given(st.sets(st.sampled_from(TAGS)))
def test_a_change_drops_what_shares_its_slots_and_nothing_else(process: Generations, changed: set[str]) -> None:
    keeps = {tag: kept(process, tag) for tag in TAGS}
    process.invalidate(changed)
    slots = {slot_of(tag) for tag in changed}
    assert {tag for tag, keep in keeps.items() if not keep()} == {tag for tag in TAGS if slot_of(tag) in slots}


def test_everything_is_dropped_at_once(path: Path) -> None:
    one, other = opened(path), opened(path)
    keeps = [kept(one, tag) for tag in TAGS] + [kept(one)]
    other.invalidate(["*"])
    assert not any(keep() for keep in keeps)


@given(st.text())
def test_no_tag_has_the_slot_of_everything(tag: str) -> None:
    assert EVERYTHING < slot_of(tag) < SLOTS


def test_processes_agree_on_slots() -> None:
    """Python's own hash differs from process to process."""
    assert slot_of(PAGES) == 1 + 0x5A52ABD0 % (SLOTS - 1)


# Marks ---------------------------------------------------------------------------------------------------------------


def test_while_a_write_commits_nothing_is_kept_or_served_under_its_slots(path: Path, clock: Clock) -> None:
    writer, reader = opened(path), opened(path)
    pages, roles = kept(reader, PAGES), kept(reader, ROLES)
    writer.changing([slot_of(PAGES)])
    clock.now += LONGEST_WRITE_NS - 1
    assert not pages()
    assert reader.stamp(reader.slots([PAGES])) is None
    assert roles()
    assert kept(reader, ROLES)()
    writer.changed([slot_of(PAGES)])
    assert not pages()
    assert kept(reader, PAGES)()


def test_a_process_that_dies_while_it_writes_leaves_nothing_stale(path: Path, clock: Clock) -> None:
    reader = opened(path)
    pages = kept(reader, PAGES)
    opened(path).changing([slot_of(PAGES)])
    clock.now += LONGEST_WRITE_NS
    assert not pages()
    later = kept(reader, PAGES)
    reader.invalidate([PAGES])
    assert not later()


def test_a_mark_from_before_the_machine_started_keeps_nobody_waiting(path: Path, clock: Clock) -> None:
    opened(path).changing([slot_of(PAGES)])
    clock.now = 1
    assert kept(opened(path), PAGES)()


# Several hosts -------------------------------------------------------------------------------------------------------


def test_a_host_serves_what_another_changed_for_a_window_at_most(
    hosts: tuple[Generations, Generations], remote: Remote, clock: Clock
) -> None:
    one, other = hosts
    pages, roles = kept(one, PAGES), kept(one, ROLES)
    other.invalidate([PAGES])
    asked = remote.reads
    clock.now += WINDOW_NS - 1
    assert pages()
    assert remote.reads == asked
    clock.now += 1
    assert not pages()
    assert roles()


def test_a_host_sees_its_own_changes_at_once(hosts: tuple[Generations, Generations], clock: Clock) -> None:
    pages = kept(hosts[0], PAGES)
    hosts[0].invalidate([PAGES])
    assert not pages()
    again = kept(hosts[0], PAGES)
    clock.pass_window()
    assert again()


def test_everything_is_dropped_on_every_host(hosts: tuple[Generations, Generations], clock: Clock) -> None:
    keeps = [kept(hosts[0], tag) for tag in TAGS]
    hosts[1].invalidate(["*"])
    clock.pass_window()
    assert not any(keep() for keep in keeps)


def test_another_hosts_change_does_not_end_a_write_of_ones_own(
    hosts: tuple[Generations, Generations], clock: Clock
) -> None:
    one, other = hosts
    slots = one.slots([PAGES])
    one.changing(slots[1:])
    other.invalidate([PAGES])
    clock.pass_window()
    assert one.stamp(slots) is None


def test_while_the_remote_is_away_nothing_is_kept_or_served(
    hosts: tuple[Generations, Generations], remote: Remote, clock: Clock
) -> None:
    pages, slots = kept(hosts[0], PAGES), hosts[0].slots([PAGES])
    remote.is_away = True
    clock.pass_window()
    assert not pages()
    assert hosts[0].stamp(slots) is None
    remote.is_away = False
    # Others may have written what never got there.
    assert not pages()
    assert hosts[0].stamp(slots) is not None
    assert kept(hosts[0], PAGES)()


def test_a_change_that_could_not_be_sent_is_sent_later(
    hosts: tuple[Generations, Generations], remote: Remote, clock: Clock
) -> None:
    one, other = hosts
    here, there = kept(one, PAGES), kept(other, PAGES)
    before = remote.values[slot_of(PAGES)]
    remote.is_away = True
    one.changing([slot_of(PAGES)])
    one.changed([slot_of(PAGES)])
    assert not here()
    remote.is_away = False
    clock.pass_window()
    assert not here()
    wait_for(lambda: remote.values[slot_of(PAGES)] != before, what="the change on the remote")
    clock.pass_window()
    assert not there()
    wait_for(lambda: one.stamp(one.slots([PAGES])) is not None, what="the end of the mark")
    assert kept(one, PAGES)()


def test_an_invalidation_that_could_not_be_sent_holds_on_its_own_host(
    hosts: tuple[Generations, Generations], remote: Remote, clock: Clock
) -> None:
    """Also while an earlier one is being tried again, and once the remote is back."""
    one = hosts[0]
    remote.is_away = True
    one.invalidate([ROLES])
    wait_for(lambda: remote.tried_writes > 1, what="the second try")
    remote.is_away = False
    pages = kept(one, PAGES)
    remote.is_away = True
    one.invalidate([PAGES])
    assert not pages()
    remote.is_away = False
    clock.pass_window()
    assert not pages()


def test_a_process_that_dies_while_it_writes_leaves_nothing_stale_on_its_host(
    tmp_path: Path, hosts: tuple[Generations, Generations], remote: Remote, clock: Clock
) -> None:
    pages = kept(hosts[0], PAGES)
    opened(tmp_path / "one", remote).changing([slot_of(PAGES)])
    clock.now += LONGEST_WRITE_NS
    assert not pages()
    clock.pass_window()
    assert not pages()


def test_a_remote_that_lost_its_data_drops_everything(
    hosts: tuple[Generations, Generations], remote: Remote, clock: Clock
) -> None:
    keeps = [kept(host, PAGES) for host in hosts]
    remote.values.clear()
    clock.pass_window()
    assert not any(keep() for keep in keeps)


def test_redis_tells_hosts_of_each_others_changes(stack: Stack, tmp_path: Path, clock: Clock) -> None:
    client = redis.Redis.from_url(stack.settings.redis_dsn)
    one, other = (opened(tmp_path / name, RedisGenerations(client, Breaker())) for name in ("one", "other"))
    tag = unique("tag")
    changed, forgotten = kept(one, tag), kept(one, f"{tag}-forgotten")
    clock.pass_window()
    assert changed()
    other.invalidate([tag])
    clock.pass_window()
    assert not changed()
    assert forgotten()
    client.delete(f"{PREFIX}{slot_of(f'{tag}-forgotten')}")
    clock.pass_window()
    assert not forgotten()
    client.close()


def test_a_redis_that_is_away_is_told_from_one_that_knows_nothing(tmp_path: Path) -> None:
    nobody = RedisGenerations(redis.Redis(unix_socket_path=str(tmp_path / "nobody")), Breaker())
    with pytest.raises(GenerationsAway):
        nobody.read([1])
    with pytest.raises(GenerationsAway):
        nobody.write({1: new_value()})


def test_a_change_that_comes_while_an_earlier_one_is_sent_is_sent_as_well(
    hosts: tuple[Generations, Generations], remote: Remote, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = hosts
    steps = ["away", "arrives, and another change comes", "away"]
    there: list[Keep] = []

    def write(values: dict[int, int]) -> None:
        step = steps.pop(0) if steps else ""
        if step == "away":
            raise GenerationsAway
        Remote.write(remote, values)
        if step:
            clock.pass_window()
            there.append(kept(other, PAGES))
            one.invalidate([PAGES])

    monkeypatch.setattr(remote, "write", write)
    one.invalidate([PAGES])

    def is_dropped() -> bool:
        clock.pass_window()
        return bool(there) and not there[0]()

    wait_for(is_dropped, what="the later change on the other host")
    wait_for(lambda: one.stamp(one.slots([PAGES])) is not None, what="the end of the mark")


def test_a_change_is_sent_whatever_goes_wrong_while_it_is_sent(
    hosts: tuple[Generations, Generations],
    remote: Remote,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = hosts
    there = kept(other, PAGES)
    failures = [GenerationsAway(), RuntimeError("what nobody foresaw"), RuntimeError("what nobody foresaw")]

    def write(values: dict[int, int]) -> None:
        if failures:
            raise failures.pop(0)
        Remote.write(remote, values)

    monkeypatch.setattr(generations, "LONGEST_RETRY", 0.02)
    monkeypatch.setattr(remote, "write", write)
    one.invalidate([PAGES])
    wait_for(lambda: remote.tried_writes, what="the change on the remote")
    clock.pass_window()
    assert not there()
    wait_for(lambda: one.stamp(one.slots([PAGES])) is not None, what="the end of the mark")
    # Once, and not each time.
    assert [record.levelname for record in caplog.records if record.name == "plinth.generations"] == ["ERROR"]
