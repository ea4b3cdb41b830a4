"""Explanations: what each step decided, in the one shape that every domain answers (plinth/types/v1/explanation.proto).

An explanation reads the facts that the deciding code reads, by the same functions, so that the two cannot differ.
"""

from datetime import datetime

from plinth.types.v1.explanation_pb2 import Explanation

PASS = Explanation.OUTCOME_PASS
DEFER = Explanation.OUTCOME_DEFER
DROP = Explanation.OUTCOME_DROP
FAIL = Explanation.OUTCOME_FAIL


class Explaining:
    """Collects the reasons of one explanation, in the order in which the steps decide."""

    def __init__(self) -> None:
        self._reasons: list[Explanation.Reason] = []

    def passed(
        self, step: str, code: str, *, rule: str = "", value: str = "", time: datetime | None = None
    ) -> "Explaining":
        """A step let it pass."""
        return self._add(Explanation.Reason(step=step, outcome=PASS, code=code, rule_id=rule, value=value, time=time))

    def stopped(
        self,
        step: str,
        outcome: Explanation.Outcome,
        code: str,
        *,
        unless: str,
        rule: str = "",
        value: str = "",
        time: datetime | None = None,
    ) -> "Explaining":
        """A step put it off, left it out or refused it. `unless` is one sentence: what would let it pass.

        Raises ValueError without that sentence: nobody can act on such a reason.
        """
        if outcome == PASS or not unless:
            raise ValueError(f"{step} {code} does not say what would let it pass")
        return self._add(
            Explanation.Reason(
                step=step, outcome=outcome, code=code, rule_id=rule, value=value, time=time, would_change_if=unless
            )
        )

    @property
    def answer(self) -> Explanation:
        """The explanation. Its outcome is what the last reason decided that is not PASS, or else PASS."""
        outcome = next((one.outcome for one in reversed(self._reasons) if one.outcome != PASS), PASS)
        return Explanation(outcome=outcome, reasons=self._reasons)

    def _add(self, reason: Explanation.Reason) -> "Explaining":
        self._reasons.append(reason)
        return self
