"""Explanations as REST shows them."""

from typing import Any

from tests.clients import Rest

NOT_PASSED = ("OUTCOME_DEFER", "OUTCOME_DROP", "OUTCOME_MERGE", "OUTCOME_FAIL")


def explained(rest: Rest, path: str, **query: Any) -> dict[str, Any]:
    """The explanation at a path, which keeps the rules of all."""
    response = rest.get(path, query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    check(answer)
    return answer


def check(explanation: dict[str, Any]) -> None:
    """Every refusal has a reason, and every reason that is not PASS says what would change it."""
    reasons = explanation["reasons"]
    assert reasons
    stopped = [one for one in reasons if one["outcome"] != "OUTCOME_PASS"]
    assert all(one["outcome"] in NOT_PASSED and one["wouldChangeIf"] for one in stopped), reasons
    assert explanation["outcome"] == (stopped[-1]["outcome"] if stopped else "OUTCOME_PASS")


def steps(explanation: dict[str, Any]) -> list[tuple[str, str]]:
    """Step and code of every reason."""
    return [(one["step"], one["code"]) for one in explanation["reasons"]]
