"""Violations of rules: what each says, and of which field."""

import pytest
from plinth.travel.v1 import expense_pb2

from server.kernel.problems import Problem
from server.kernel.rules import check


def test_a_number_that_is_no_value_is_refused_with_the_values_there_are() -> None:
    expense = expense_pb2.Expense()
    expense.category = 99  # type: ignore[assignment]  # as a caller of another version may send it
    with pytest.raises(Problem) as refused:
        check(expense_pb2.CreateExpenseRequest(expense=expense))
    told = {violation.field: violation.description for violation in refused.value.violations}
    assert told["expense.category"] == (
        "has to be one of ACCOMMODATION, TRANSPORTATION, FOOD, ACTIVITIES, SHOPPING, MISC"
    )
