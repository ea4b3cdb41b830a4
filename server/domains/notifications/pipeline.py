"""The pipeline: whether one person is told something, as a function of facts.

Each step appends a reason to the explanation, which is stored whether the person is told or not. The steps and their
order are those of ExplainNotification.
"""

from dataclasses import dataclass
from datetime import datetime

from plinth.notifications.v1.notification_preferences_pb2 import NotificationRule
from plinth.types.v1.explanation_pb2 import Explanation

from server.domains.notifications.choices import DEFAULT, IN_APP, LOCKED, choice_of
from server.domains.notifications.workflows import Workflow
from server.kernel.explaining import DROP, FAIL, Explaining

NOT_A_MEMBER, OWN_ACT, EXPIRED, UNWANTED, TOLD_BEFORE = (
    *("NOT_A_MEMBER", "OWN_ACT", "EXPIRED", "UNWANTED"),
    "TOLD_BEFORE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known when something is to be told to one person."""

    workflow: Workflow
    recipient_id: str
    is_member: bool
    actor_id: str
    group_key: str
    expire_time: datetime | None
    rules: tuple[NotificationRule, ...]
    now: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What the pipeline decided."""

    explanation: Explanation
    reason: str = ""
    """Why the person is not told; empty if the person is."""

    @property
    def is_told(self) -> bool:
        """Whether the person is told."""
        return not self.reason


def decide(facts: Facts) -> Decision:
    """Decide, but for repetitions, which only the inbox itself knows (`told_before`)."""
    told = Explaining()
    if not facts.is_member:
        unless = "Invite this person into the tenant."
        return _stopped(told, "recipient", NOT_A_MEMBER, outcome=FAIL, unless=unless)
    told.passed("recipient", "MEMBER")
    if facts.actor_id == facts.recipient_id and not facts.workflow.tells_actor:
        unless = "Somebody else does it: nobody is told of their own acts."
        return _stopped(told, "actor", OWN_ACT, rule=facts.workflow.key, unless=unless)
    told.passed("actor", "OTHER" if facts.actor_id != facts.recipient_id else "TELLS_ACTOR", rule=facts.workflow.key)
    if facts.expire_time is not None and facts.expire_time <= facts.now:
        unless = "Send it before it expires, or without a time."
        return _stopped(told, "expiry", EXPIRED, time=facts.expire_time, unless=unless)
    told.passed("expiry", "NO_EXPIRY" if facts.expire_time is None else "IN_TIME", time=facts.expire_time)
    choice = choice_of(facts.rules, facts.workflow, IN_APP, facts.now, facts.group_key)
    if not choice.is_wanted:
        rule = f"{choice.decided_by} {choice.key}".strip()
        unless = "The person turns it on in their preferences."
        return _stopped(told, "preferences", UNWANTED, rule=rule, unless=unless)
    code = choice.decided_by if choice.decided_by in {LOCKED, DEFAULT} else "CHOSEN"
    told.passed("preferences", code, rule=f"{choice.decided_by} {choice.key}".strip())
    return Decision(told.answer)


def in_inbox(decision: Decision) -> Decision:
    """The decision for somebody who has it in the inbox."""
    reasons = [*decision.explanation.reasons, Explanation.Reason(step="repetition", outcome=_PASS, code="FIRST")]
    reasons.append(Explanation.Reason(step="inbox", outcome=_PASS, code="STORED"))
    return Decision(Explanation(outcome=_PASS, reasons=reasons))


def told_before(decision: Decision, dedupe_key: str) -> Decision:
    """The decision for somebody who was told something with the same key before."""
    again = Explanation.Reason(
        step="repetition",
        outcome=DROP,
        code=TOLD_BEFORE,
        rule_id=dedupe_key,
        would_change_if="Send it with another `dedupe_key`.",
    )
    return Decision(Explanation(outcome=DROP, reasons=[*decision.explanation.reasons, again]), TOLD_BEFORE)


_PASS = Explanation.OUTCOME_PASS


def _stopped(
    told: Explaining,
    step: str,
    code: str,
    *,
    unless: str,
    outcome: "Explanation.Outcome" = DROP,
    rule: str = "",
    time: datetime | None = None,
) -> Decision:
    return Decision(told.stopped(step, outcome, code, unless=unless, rule=rule, time=time).answer, code)
