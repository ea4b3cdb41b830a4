"""Employees: numbers, accounts and managers that fit together."""

from typing import Any

import pytest

from tests.clients import Rest, Tenant, new_address, new_member, new_tenant, problem, reason, sign_up, unique
from tests.stack import Stack

TAKEN = (409, "RESOURCE_TAKEN")


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def hire(tenant: Tenant, **facts: Any) -> dict[str, Any]:
    """Make an employee."""
    answer = tenant.rest.post("employees", {"lastName": "Lovelace", **facts})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_an_employee_needs_no_account(tenant: Tenant) -> None:
    body = {
        "firstName": "Ada",
        "number": unique("E"),
        "email": new_address(),
        "phone": "+966501234567",
        "employment": "EMPLOYMENT_FULL_TIME",
        "hireDate": {"year": 2026, "month": 1, "day": 31},
    }
    made = hire(tenant, **body)
    assert made == made | body | {"status": "STATUS_ACTIVE", "userId": "", "tenantId": tenant.id}
    assert tenant.rest.get(f"employees/{made['id']}").json() == made


def test_a_number_and_an_account_are_one_employee_s(tenant: Tenant) -> None:
    number, user = unique("E"), new_member(tenant, "employee")[0]
    first = hire(tenant, number=number, userId=user.id)
    for facts in ({"number": number}, {"userId": user.id}):
        assert reason(tenant.rest.post("employees", {"lastName": "Other", **facts})) == TAKEN
    assert tenant.rest.delete(f"employees/{first['id']}").status_code == 204
    second = hire(tenant, number=number, userId=user.id)
    assert reason(tenant.rest.post(f"employees/{first['id']}/undelete", {})) == TAKEN
    # Without a number or an account there is nothing to share.
    assert {hire(tenant)["id"], hire(tenant)["id"]}.isdisjoint({first["id"], second["id"]})


def test_an_account_is_that_of_a_member(stack: Stack, tenant: Tenant) -> None:
    stranger, invited = sign_up(stack), tenant.rest.post("users", {"email": new_address()}).json()
    for user_id in (stranger.id, invited["id"]):
        refused = tenant.rest.post("employees", {"lastName": "Other", "userId": user_id})
        assert (refused.status_code, problem(refused).resource_type) == (404, "plinth.dev/User")


def test_nobody_is_their_own_manager(stack: Stack, tenant: Tenant) -> None:
    chief = hire(tenant)
    middle = hire(tenant, managerId=chief["id"])
    worker = hire(tenant, managerId=middle["id"])
    for manager in (chief, middle, worker):
        refused = problem(tenant.rest.patch(f"employees/{chief['id']}", {"managerId": manager["id"]}))
        assert refused.rules == ("tree.cycle",)
    assert tenant.rest.patch(f"employees/{worker['id']}", {"managerId": chief["id"]}).status_code == 200
    elsewhere = hire(new_tenant(stack))
    refused = problem(tenant.rest.patch(f"employees/{chief['id']}", {"managerId": elsewhere["id"]}))
    assert refused.resource_type == "plinth.dev/Employee"
    listed = tenant.rest.get("employees", params={"filter": f'manager_id = "{chief["id"]}"'}).json()["employees"]
    assert {one["id"] for one in listed} == {middle["id"], worker["id"]}


def test_days_are_in_order(tenant: Tenant) -> None:
    hired, ended = {"year": 2026, "month": 2, "day": 1}, {"year": 2026, "month": 1, "day": 31}
    refused = problem(tenant.rest.post("employees", {"lastName": "L", "hireDate": hired, "endDate": ended}))
    assert (set(refused.violations), refused.rules) == ({"endDate"}, ("employee.days",))
    assert hire(tenant, hireDate=hired, endDate=hired)["endDate"] == hired
    no_day = {"lastName": "L", "hireDate": {"year": 2026, "month": 2, "day": 30}}
    for body in (no_day, {**no_day, "endDate": hired}):
        assert set(problem(tenant.rest.post("employees", body)).violations) == {"hireDate"}


def test_those_who_look_on_see_no_employees(stack: Stack, tenant: Tenant) -> None:
    for role in ("viewer", "member", "employee", "editor"):
        rest = Rest(stack, new_member(tenant, role)[1].access_token)
        assert rest.get("employees").status_code == 403
