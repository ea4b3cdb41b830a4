"""What a process remembers of tenants: read once, read again after a change, and kept while PostgreSQL is away."""

from pathlib import Path

import pytest

from server.data.connections import DatabaseUnavailable
from server.kernel.caching import Generations, TenantMemory, tenant_memory

TENANT, OTHER = "one", "other"


class Source:
    """Counts what is read of each tenant, and fails while it is away."""

    def __init__(self) -> None:
        self.reads = 0
        self.is_away = False

    def read(self, tenant_id: str) -> str:
        self.reads += 1
        if self.is_away:
            raise DatabaseUnavailable
        return f"{tenant_id} {self.reads}"


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    own = Generations(tmp_path / "generations")
    own.open()
    return own


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def memory(generations: Generations, source: Source) -> TenantMemory[str]:
    return TenantMemory(generations, "things:{tenant_id}", source.read, most=2)


def test_it_is_read_again_once_it_may_have_changed(memory: TenantMemory[str], generations: Generations) -> None:
    assert [memory.of(TENANT), memory.of(TENANT), memory.of(OTHER)] == ["one 1", "one 1", "other 2"]
    generations.invalidate([f"things:{TENANT}"])
    assert [memory.of(TENANT), memory.of(TENANT)] == ["one 3", "one 3"]


def test_all_are_forgotten_when_there_are_too_many(memory: TenantMemory[str], source: Source) -> None:
    for name in ("a", "b", "c", "c"):
        memory.of(name)
    assert source.reads == 3
    memory.of("a")
    assert source.reads == 4


def test_what_is_known_holds_while_postgresql_is_away(
    memory: TenantMemory[str], generations: Generations, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(tenant_memory, "monotonic", lambda: now[0])
    assert memory.of(TENANT) == "one 1"
    source.is_away = True
    generations.invalidate([f"things:{TENANT}"])
    # The first one asks, the next ones do not, for a while.
    assert [memory.of(TENANT) for _ in range(3)] == ["one 1"] * 3
    assert source.reads == 2
    with pytest.raises(DatabaseUnavailable):
        memory.of(OTHER)
    assert source.reads == 2
    now[0] += tenant_memory.PAUSE
    with pytest.raises(DatabaseUnavailable):
        memory.of(OTHER)
    assert source.reads == 3
    source.is_away = False
    now[0] += tenant_memory.PAUSE
    assert memory.of(TENANT) == "one 4"
