"""How many there may be (`Resource.most`): of a parent, else of an owner, else of a tenant."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clients import database, rows
from tests.standard.doors import Door, Refused, refusal

pytestmark = pytest.mark.needs("most")
ROOM = 2
AT_ONCE = 6


def fill(door: Door, like: str, count: int) -> None:
    """Add copies of one of them in the database: only their number matters."""
    resource = door.kind.resource
    named = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
    columns = [row["column_name"] for row in rows(door.tenant.stack, named, door.kind.table)]
    own = {"id": "gen_random_uuid()", resource.order: "n + 1"}
    own |= {name: f"{name} || n" for name in resource.unique.values()}
    values = ", ".join(own.get(name, name) for name in columns)
    copies = f"SELECT {values} FROM {door.kind.table}, generate_series(1, %s) n WHERE id = %s"
    with database(door.tenant.stack) as connection:
        sql = f"INSERT INTO {door.kind.table} ({', '.join(columns)}) {copies}"
        connection.execute(sql.encode(), (count, like))


def test_there_is_room_for_so_many_however_they_are_made(door: Door) -> None:
    kind = door.kind
    first = door.create()
    fill(door, first["id"], kind.resource.most - 1 - ROOM)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        making = [pool.submit(door.create) for _ in range(AT_ONCE)]
    refused = [error for each in making if (error := each.exception())]
    assert len(refused) == AT_ONCE - ROOM
    for error in refused:
        assert isinstance(error, Refused), error
        assert (error.problem.reason, error.problem.metadata) == (
            "LIMIT_REACHED",
            {"resource_type": kind.resource_type, "limit": str(kind.resource.most)},
        )
    # What is deleted leaves room, and does not come back while there is none.
    door.delete(first["id"])
    door.create()
    if "undelete" in kind.capabilities:
        with refusal("LIMIT_REACHED"):
            door.undelete(first["id"])
