"""Employees: the staff of a tenant, with or without an account."""

from datetime import date

from google.type.date_pb2 import Date
from plinth.identity.v1 import employee_pb2
from plinth.identity.v1.employee_pb2 import Employee

from server.domains.identity.people import MEMBER_WITH_ID
from server.domains.identity.tables import employees
from server.domains.identity.user_rows import USER
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.resources import Resource, Service, Tree

MOST_LEVELS = 50


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
        tree=Tree("manager_id", MOST_LEVELS),
        unique={"employees_number_key": "number", "employees_user_id_key": "user_id"},
    )

    def prepare(self, call: Call, resource: Employee, before: Employee | None) -> None:
        """A new employee works."""
        del call, before
        resource.status = resource.status or Employee.STATUS_ACTIVE

    def check(self, call: Call, resource: Employee, before: Employee | None) -> None:
        """Refuse days out of order, a user who is no member of the tenant."""
        _check_days(resource)
        if resource.user_id and (before is None or before.user_id != resource.user_id):
            self._check_account(call, resource)

    def _check_account(self, call: Call, employee: Employee) -> None:
        if not call.writes.run(MEMBER_WITH_ID, tenant=call.tenant_id, user_id=employee.user_id).returned:
            raise not_found(USER, employee.user_id)


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
