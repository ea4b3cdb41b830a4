"""The pipeline: where one person is told something, as a function of facts.

Each step appends a reason to the explanation, which is stored whether the person is told or not. The steps and their
order are those of ExplainNotification.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from plinth.notifications.v1.notification_pb2 import Notification
from plinth.notifications.v1.notification_preferences_pb2 import (
    EmailDigest,
    NotificationChannel,
    NotificationRule,
    QuietHours,
)
from plinth.types.v1.explanation_pb2 import Explanation

from server.domains.notifications.choices import DEFAULT, LOCKED, choice_of
from server.domains.notifications.waiting import DIGEST, QUIET_HOURS, RATE, Wait, next_digest, quiet_until
from server.domains.notifications.workflows import CHANNELS, EMAIL, IN_APP, PUSH, Workflow
from server.kernel.explaining import DEFER, DROP, FAIL, PASS

NOT_A_MEMBER, OWN_ACT, EXPIRED, UNWANTED, UNREACHABLE, TOLD_BEFORE = (
    *("NOT_A_MEMBER", "OWN_ACT", "EXPIRED", "UNWANTED"),
    *("UNREACHABLE", "TOLD_BEFORE"),
)
HIGH, CRITICAL = Notification.PRIORITY_HIGH, Notification.PRIORITY_CRITICAL
Reason = Explanation.Reason
UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What is known of who is told."""

    is_member: bool = False
    rules: tuple[NotificationRule, ...] = ()
    quiet_hours: QuietHours | None = None
    email_digest: EmailDigest | None = None
    email: str = ""
    """A proven address; empty without one."""
    languages: tuple[str, ...] = ()
    """The best first."""
    zone: ZoneInfo = UTC
    devices: tuple[str, ...] = ()
    """Their ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known when something is to be told to one person."""

    workflow: Workflow
    priority: int
    recipient_id: str
    person: Person
    actor_id: str
    group_key: str
    expire_time: datetime | None
    now: datetime

    @property
    def never_waits(self) -> bool:
        """Whether it comes at once, whatever the person has chosen."""
        return self.priority == CRITICAL or self.workflow.is_locked


@dataclass(slots=True)
class Decision:
    """What the pipeline has decided."""

    reasons: list[Reason] = field(default_factory=list)
    channels: dict[int, Wait | None] = field(default_factory=dict)
    """Where the person is told, with what it waits for; none if the person is not told."""
    reason: str = ""
    """Why the person is not told; empty if the person is."""

    @property
    def is_told(self) -> bool:
        """Whether the person is told."""
        return bool(self.channels)

    @property
    def explanation(self) -> Explanation:
        """Every step, and whether the person is told in the end."""
        return Explanation(outcome=self._outcome(), reasons=self.reasons)

    def _outcome(self) -> "Explanation.Outcome":
        if self.is_told:
            return PASS if None in self.channels.values() else DEFER
        return next(each.outcome for each in reversed(self.reasons) if each.outcome in (DROP, FAIL))

    def defer(self, channel: int, wait: Wait) -> None:
        """It waits on a channel."""
        self.channels[channel] = wait
        unless = {
            DIGEST: "The person turns the digest off, or it is sent with the priority HIGH.",
            QUIET_HOURS: "The person shortens the quiet hours, or it is sent with the priority CRITICAL.",
            RATE: "Less is sent to the person, or it is sent with the priority CRITICAL.",
        }[wait.reason]
        self._add(wait.reason.lower(), DEFER, wait.reason, channel, unless=unless, time=wait.until)

    def drop(self, step: str, code: str, *, unless: str, rule: str = "") -> None:
        """The person is not told after all."""
        self.reason = code
        self.channels.clear()
        self._add(step, DROP, code, rule=rule, unless=unless)

    def _pass(self, step: str, code: str, channel: int = 0, *, rule: str = "", time: datetime | None = None) -> None:
        self._add(step, PASS, code, channel, rule=rule, time=time)

    def _add(
        self,
        step: str,
        outcome: "Explanation.Outcome",
        code: str,
        channel: int = 0,
        *,
        rule: str = "",
        unless: str = "",
        time: datetime | None = None,
    ) -> None:
        reason = Reason(
            step=step, outcome=outcome, code=code, rule_id=rule, value=channel_name(channel), would_change_if=unless
        )
        if time is not None:
            reason.time.FromDatetime(time)
        self.reasons.append(reason)

    # Steps ---------------------------------------------------------------------------------------------------------

    def stop(self, facts: Facts) -> bool:
        """Whether the person is told nowhere, for a reason that has nothing to do with channels."""
        if not facts.person.is_member:
            return self._stop("recipient", NOT_A_MEMBER, FAIL, "Invite this person into the tenant.")
        self._pass("recipient", "MEMBER")
        is_own = facts.actor_id == facts.recipient_id
        key = facts.workflow.key
        if is_own and not facts.workflow.tells_actor:
            unless = "Somebody else does it: nobody is told of their own acts."
            return self._stop("actor", OWN_ACT, DROP, unless, rule=key)
        self._pass("actor", "TELLS_ACTOR" if is_own else "OTHER", rule=key)
        if facts.expire_time is not None and facts.expire_time <= facts.now:
            unless = "Send it before it expires, or without a time."
            return self._stop("expiry", EXPIRED, DROP, unless, time=facts.expire_time)
        self._pass("expiry", "NO_EXPIRY" if facts.expire_time is None else "IN_TIME", time=facts.expire_time)
        return False

    def _stop(
        self,
        step: str,
        code: str,
        outcome: "Explanation.Outcome",
        unless: str,
        *,
        rule: str = "",
        time: datetime | None = None,
    ) -> bool:
        self.reason = code
        self._add(step, outcome, code, rule=rule, unless=unless, time=time)
        return True

    def consider(self, facts: Facts, channel: int) -> str:
        """Decide about a channel. Returns why the person is not told on it; empty if the person is."""
        choice = choice_of(facts.person.rules, facts.workflow, channel, facts.now, facts.group_key)
        rule = f"{choice.decided_by} {choice.key}".strip()
        if not choice.is_wanted:
            unless = "The person turns it on in their preferences."
            self._add("preferences", DROP, UNWANTED, channel, rule=rule, unless=unless)
            return UNWANTED
        code = choice.decided_by if choice.decided_by in {LOCKED, DEFAULT} else "CHOSEN"
        self._pass("preferences", code, channel, rule=rule)
        if channel == IN_APP:
            self.channels[IN_APP] = None
            return ""
        missing = _missing(facts.person, channel)
        if missing:
            self._add("reachability", DROP, UNREACHABLE, channel, unless=missing)
            return UNREACHABLE
        self._pass("reachability", "REACHABLE", channel)
        wait = waits(facts, channel)
        if wait is None:
            self.channels[channel] = None
        else:
            self.defer(channel, wait)
        return ""


def decide(facts: Facts) -> Decision:
    """Decide, but for the rate and for repetitions, which only the database knows."""
    decision = Decision()
    if decision.stop(facts):
        return decision
    refused = {decision.consider(facts, channel) for channel in CHANNELS}
    if not decision.channels:
        decision.reason = UNREACHABLE if UNREACHABLE in refused else UNWANTED
    return decision


def waits(facts: Facts, channel: int, *, is_new: bool = True) -> Wait | None:
    """What it waits for on a channel; None if it goes out at once. Only what `is_new` waits for a digest."""
    person = facts.person
    if facts.never_waits:
        return None
    wait = None
    if is_new and channel == EMAIL and person.email_digest is not None and facts.priority < HIGH:
        wait = Wait(next_digest(person.email_digest, person.zone, facts.now), DIGEST)
    if person.quiet_hours is not None:
        zone = ZoneInfo(person.quiet_hours.time_zone) if person.quiet_hours.time_zone else person.zone
        end = quiet_until(person.quiet_hours, zone, wait.until if wait else facts.now)
        if end is not None:
            # A digest that would come then is still one.
            wait = Wait(end, DIGEST if wait else QUIET_HOURS)
    return wait


def channel_name(channel: int) -> str:
    """As explanations name it; empty for none."""
    name: str = NotificationChannel.Name(channel) if channel else ""
    return name.removeprefix("NOTIFICATION_CHANNEL_")


_MISSING: Mapping[int, str] = {
    EMAIL: "The person proves that the address of their account is theirs.",
    PUSH: "The person registers a device.",
}


def _missing(person: Person, channel: int) -> str:
    """What would make the person reachable; empty if they are."""
    return "" if (person.email if channel == EMAIL else person.devices) else _MISSING[channel]
