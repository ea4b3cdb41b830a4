"""People with a mark in everything that is theirs, and a look at everything that is stored, as a dump of it has it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx
from psycopg import sql

from server.kernel.ids import new_id
from tests.clients import Account, Rest, Session, Tenant, database, rows, sign_up, unique
from tests.stack import Stack, wait_for

ENDED = ("STATE_DONE", "STATE_FAILED", "STATE_CANCELLED")
DAY = {"year": 2026, "month": 12, "day": 1}
TABLES = """
SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY c.relname
"""


@dataclass(frozen=True)
class Marked:
    """Somebody whose every word holds a mark that nobody else has."""

    mark: str
    account: Account
    session: Session
    rest: Rest
    trip_id: str
    expense_id: str

    @property
    def id(self) -> str:
        """The user."""
        return self.account.id

    @property
    def headers(self) -> dict[str, str]:
        """What the person's browser says of itself."""
        return {"user-agent": f"browser/{self.mark}"}


def join(stack: Stack, account: Account, tenant: Tenant, *roles: str) -> None:
    """Make somebody a member. By SQL: there is no invitation yet."""
    with database(stack) as connection:
        connection.execute(
            "INSERT INTO memberships (tenant_id, user_id, roles) VALUES (%s, %s, %s)",
            (tenant.id, account.id, list(roles)),
        )


def somebody(stack: Stack) -> tuple[str, Account]:
    """A mark, and a new account that bears it."""
    mark = unique("mark")
    account = sign_up(stack, email=f"{mark}@Example.com", firstName=f"First {mark}", lastName=f"Last {mark}")
    # Accepted, or held where there is no SMTP server.
    sent = "SELECT FROM email_messages WHERE user_id = %s AND status IN (3, 8)"
    wait_for(lambda: rows(stack, sent, account.id), what="the mail that verifies the address")
    return mark, account


def marked(tenant: Tenant, *roles: str) -> Marked:
    """A new member who has done everything that leaves a trace."""
    mark, account = somebody(tenant.stack)
    join(tenant.stack, account, tenant, *(roles or ("member",)))
    return at_home(tenant, mark, account)


def at_home(tenant: Tenant, mark: str, account: Account) -> Marked:
    """Somebody as a member of a tenant, who plans a trip and spends money on it there."""
    headers = {"user-agent": f"browser/{mark}"}
    body = {"email": account.email, "password": account.password, "tenant": tenant.subdomain}
    session = Session.of(Rest(tenant.stack).post("auth/login", body, headers=headers))
    rest = Rest(tenant.stack, session.access_token)
    trip = {"title": f"Trip {mark}", "destinationName": f"To {mark}", "startDate": DAY, "endDate": DAY}
    trip |= {"specialRequirements": [f"Needs {mark}"], "feedback": f"Fine {mark}"}
    trip_id = _made(rest.post("/api/v1/trips", trip, headers=headers | {"idempotency-key": unique("key")}))["id"]
    amount = {"currencyCode": "EUR", "units": "12"}
    expense = {"tripId": trip_id, "category": "CATEGORY_FOOD", "amount": amount, "spendDate": DAY}
    expense |= {"description": f"Meal {mark}", "place": f"At {mark}"}
    expense_id = _made(rest.post("/api/v1/expenses", expense, headers=headers))["id"]
    changed = rest.patch(f"/api/v1/trips/{trip_id}", {"title": f"Better {mark}"}, headers=headers)
    assert changed.status_code == 200, changed.text
    person = Marked(mark, account, session, rest, trip_id, expense_id)
    plant_attempts(tenant, [person])
    return person


def _made(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def plant_attempts(tenant: Tenant, people: Iterable[Marked]) -> None:
    """Attempts to deliver what happened to trips of these people, as a receiver saw them."""
    with database(tenant.stack) as connection:
        for person in people:
            body = f'{{"data":{{"userId":"{person.id}","title":"Trip {person.mark}"}},"type":"trip.created"}}'
            connection.execute(
                "INSERT INTO webhook_attempts VALUES (%s, %s, 1, now(), 1, 200, '', %s, %s, %s, %s)",
                (tenant.id, new_id(), f'{{"x":"{person.mark}"}}', body, f'{{"y":"{person.mark}"}}', person.mark),
            )


def dump(stack: Stack) -> dict[str, str]:
    """Every row of every table as text, by table. Bytes are shown as what they spell."""
    found = {}
    with database(stack) as connection:
        for table in [row["name"] for row in connection.execute(TABLES).fetchall()]:
            columns = connection.execute(
                "SELECT column_name AS name, data_type AS type FROM information_schema.columns "
                "WHERE table_schema = 'public' AND table_name = %s",
                (table,),
            ).fetchall()
            shown = [
                sql.SQL("encode({}, 'escape')" if column["type"] == "bytea" else "{}::text").format(
                    sql.Identifier(column["name"])
                )
                for column in columns
            ]
            query = sql.SQL("SELECT concat_ws(' ', {}) AS text FROM {}").format(
                sql.SQL(", ").join(shown), sql.Identifier(table)
            )
            found[table] = "\n".join(row["text"] for row in connection.execute(query).fetchall())
    return found


def holding(stack: Stack, mark: str) -> set[str]:
    """The tables that hold a mark, each by the name of the whole table if it is a partition."""
    return {table.partition("_20")[0] for table, text in dump(stack).items() if mark.lower() in text.lower()}


def erase_self(person: Marked) -> httpx.Response:
    """The request of somebody to be erased."""
    return person.rest.post("/api/v1/gdpr/erasures", {"password": person.account.password}, headers=person.headers)


def erase_member(tenant: Tenant, user_id: str) -> httpx.Response:
    """The request of a tenant to erase somebody."""
    return tenant.rest.post(f"{tenant.path}/people/{user_id}/erase", {})


def ended(tenant: Tenant, response: httpx.Response) -> dict[str, Any]:
    """The operation that a request has started, once it has ended, as the tenant's owner sees it."""
    assert response.status_code == 202, response.text
    shown: dict[str, Any] = {}

    def has_ended() -> bool:
        shown.update(tenant.rest.get(f"/api/v1/long-operations/{response.json()['id']}").json())
        return shown["state"] in ENDED

    wait_for(has_ended, what=lambda: f"the end of {shown}")
    return shown
