"""Employees: the staff of a tenant, with or without an account."""

from datetime import date

from google.type.date_pb2 import Date
from plinth.identity.v1 import employee_pb2
from plinth.identity.v1.employee_pb2 import Employee
from sqlalchemy import Integer, bindparam, literal_column, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.identity.people import MEMBER_WITH_ID
from server.domains.identity.tables import employees
from server.domains.identity.user_rows import USER
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.resources import Resource, Service

MOST_LEVELS = 50
"""Managers above an employee, so that a walk up ends."""
_c = employees.c
_id = UUID(as_uuid=False)
_tenant = bindparam("tenant", type_=_id)
_first = (
    select(_c.id, _c.manager_id, literal_column("1", Integer()).label("level"))
    .where(_c.tenant_id == _tenant, _c.id == bindparam("manager", type_=_id), _c.delete_time.is_(None))
    .cte("above", recursive=True)
)
_above = _first.union_all(
    select(_c.id, _c.manager_id, _first.c.level + literal_column("1"))
    .join(_first, _c.id == _first.c.manager_id)
    .where(_c.tenant_id == _tenant, _c.delete_time.is_(None), _first.c.level < literal_column(str(MOST_LEVELS)))
)
ABOVE = Statement(select(_above.c.id))
"""The manager, and the managers above; empty if the manager is no employee."""


class EmployeeService(Service[Employee]):
    """Employees."""

    descriptor = employee_pb2.DESCRIPTOR.services_by_name["EmployeeService"]
    resource = Resource(
        Employee,
        employees,
        filterable=(
            *("id", "number", "email", "department", "status", "manager_id", "user_id", "last_name", "hire_date"),
            "create_time",
        ),
        sortable=("create_time", "last_name"),
        unique={"employees_number_key": "number", "employees_user_id_key": "user_id"},
    )

    def prepare(self, call: Call, resource: Employee, before: Employee | None) -> None:
        """A new employee works."""
        del call, before
        resource.status = resource.status or Employee.STATUS_ACTIVE

    def check(self, call: Call, resource: Employee, before: Employee | None) -> None:
        """Refuse days out of order, a user who is no member of the tenant, and a manager below the employee."""
        _check_days(resource)
        if resource.user_id and (before is None or before.user_id != resource.user_id):
            self._check_account(call, resource)
        if resource.manager_id and (before is None or before.manager_id != resource.manager_id):
            self._check_manager(call, resource)

    def _check_account(self, call: Call, employee: Employee) -> None:
        if not call.writes.run(MEMBER_WITH_ID, tenant=call.tenant_id, user_id=employee.user_id).returned:
            raise not_found(USER, employee.user_id)

    def _check_manager(self, call: Call, employee: Employee) -> None:
        above = call.writes.run(ABOVE, tenant=call.tenant_id, manager=employee.manager_id).all()
        if not above:
            raise not_found(self.rows.type, employee.manager_id)
        if employee.id in {row["id"] for row in above}:
            wrong = "is the employee, or somebody below"
            raise broken_rules([Violation("employee.manager_id", wrong, "employee.manager")])


def _check_days(employee: Employee) -> None:
    if not (employee.HasField("hire_date") and employee.HasField("end_date")):
        return
    try:
        is_wrong = _day(employee.end_date) < _day(employee.hire_date)
    except ValueError:
        # Which of them is no day of the calendar is said when they are stored.
        return
    if is_wrong:
        raise broken_rules([Violation("employee.end_date", "is not before the first day", "employee.days")])


def _day(shown: Date) -> date:
    return date(shown.year, shown.month, shown.day)
