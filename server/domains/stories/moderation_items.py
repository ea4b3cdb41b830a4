"""The queue of moderators, and what they decide."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

from plinth.stories.v1 import moderation_item_pb2
from plinth.stories.v1.moderation_decision_pb2 import ModerationDecision
from plinth.stories.v1.moderation_item_pb2 import (
    ListModerationItemsRequest,
    ListModerationItemsResponse,
    ModerationItem,
)
from plinth.stories.v1.story_report_pb2 import StoryReport, StoryReportOutcome
from sqlalchemy import DateTime, bindparam, select, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.domains.stories.decisions import (
    COUNT,
    DECIDED,
    DROP,
    KEEP,
    PUBLISH,
    REJECT,
    REMOVE,
    RESTORE,
    UPHOLD,
    Grounds,
    decide,
)
from server.domains.stories.moderation_queue import APPEAL, COMMENT, REPORT, RUSH, SUBMISSION
from server.domains.stories.moderation_subjects import AnyHeld, ModeratedSubjects
from server.domains.stories.ratings import DROP_HELD, RECOUNT, RELEASE_HELD
from server.domains.stories.report_rows import AGREED, DISAGREED, IGNORED
from server.domains.stories.report_rows import DECIDE as DECIDE_REPORTS
from server.domains.stories.tables import moderation_decisions, moderation_items
from server.kernel.call import Call
from server.kernel.problems import Denied, StateForbids
from server.kernel.queries import OrderTerm, PageTokens
from server.kernel.resources import EventFacts, Lister, Resource, Service

OPEN, CLAIMED = ModerationItem.STATE_OPEN, ModerationItem.STATE_CLAIMED
APPROVED, REJECTED = ModerationItem.STATE_APPROVED, ModerationItem.STATE_REJECTED
CLOSED = ModerationItem.STATE_IGNORED
DONE = -1.0
"""The score of what is decided."""
LEASE = timedelta(minutes=15)
ESCALATED = "stories.settings.update"
REPORT_DECIDED = "story_report.decided"
MOST_TOLD = 500
"""Of those who reported one thing, how many are told what was decided."""
WAITING = "state = OPEN OR state = CLAIMED"
_id = UUID(as_uuid=False)
NOW = Statement(text("SELECT clock_timestamp() AS now").columns(now=DateTime(timezone=True)))
DECIDED_BY = Statement(
    select(moderation_decisions.c.moderator_id, moderation_decisions.c.action, moderation_decisions.c.facts).where(
        moderation_decisions.c.tenant_id == bindparam("tenant", type_=_id),
        moderation_decisions.c.id == bindparam("decision", type_=_id),
    )
)
"""Takes `tenant` and `decision`."""
ITEM = Resource(
    ModerationItem,
    moderation_items,
    filterable=(
        *("id", "kind", "subject_kind", "subject_id", "story_id", "author_id", "state", "is_escalated", "claimed_by"),
        *("score", "create_time", "update_time"),
    ),
    sortable=("score", "create_time", "update_time"),
    default_order=(OrderTerm("score", descending=True), OrderTerm("create_time", descending=False)),
    hidden=("open_time",),
)


class _Outcome(NamedTuple):
    """What a decision makes of an item."""

    state: "ModerationItem.State"
    action: int


class ModerationItemService(Service[ModerationItem]):
    """The queue."""

    descriptor = moderation_item_pb2.DESCRIPTOR.services_by_name["ModerationItemService"]
    resource = ITEM
    events: ClassVar[Mapping[str, EventFacts]] = {
        DECIDED: EventFacts(ModerationDecision, "A moderator, or the weight of reports, has decided about a work."),
        REPORT_DECIDED: EventFacts(StoryReportOutcome, "A moderator has decided about what was reported."),
    }

    def __init__(self, subjects: ModeratedSubjects, tokens: PageTokens) -> None:
        super().__init__()
        self._subjects = subjects
        self._lister = Lister(self.rows, tokens)

    # Custom methods ------------------------------------------------------------------------------------------------

    def list_moderation_items(self, call: Call, request: ListModerationItemsRequest) -> ListModerationItemsResponse:
        """List what waits, unless the filter asks for something else."""
        asked = ListModerationItemsRequest()
        asked.CopyFrom(request)
        asked.filter = request.filter or WAITING
        found, token, total = self._lister.page(call, asked)
        return ListModerationItemsResponse(moderation_items=found, next_page_token=token, total_size=total)

    def claim_moderation_item(
        self, call: Call, request: moderation_item_pb2.ClaimModerationItemRequest
    ) -> ModerationItem:
        """Claim an item."""
        before = self.rows.lock(call, request.moderation_item_id)
        now = self._now(call)
        self._expect_open(before)
        self._expect_allowed(call, before)
        if before.claimed_by not in ("", call.caller.user_id) and _is_claimed(before, now):
            raise self._forbidden(before, "Somebody else is at it.", "CLAIMED")
        after = self.rows.copy_of(before)
        after.state, after.claimed_by = CLAIMED, call.caller.user_id
        after.claim_expire_time.FromDatetime(now + LEASE)
        return self.rows.update(call, after, before)

    def release_moderation_item(
        self, call: Call, request: moderation_item_pb2.ReleaseModerationItemRequest
    ) -> ModerationItem:
        """Give up a claim."""
        before = self.rows.lock(call, request.moderation_item_id)
        if before.state != CLAIMED or before.claimed_by != call.caller.user_id:
            raise self._forbidden(before, "You have not claimed it.", "UNCLAIMED")
        return self.rows.update(call, self._ended(before, OPEN), before)

    def approve_moderation_item(
        self, call: Call, request: moderation_item_pb2.ApproveModerationItemRequest
    ) -> ModerationItem:
        """Approve an item."""
        before = self._lock_to_decide(call, request.moderation_item_id, request.etag)
        return self._decide(call, before, Grounds(request.reason), _Outcome(APPROVED, self._approve(call, before)))

    def reject_moderation_item(
        self, call: Call, request: moderation_item_pb2.RejectModerationItemRequest
    ) -> ModerationItem:
        """Reject an item."""
        before = self._lock_to_decide(call, request.moderation_item_id, request.etag)
        grounds = Grounds(request.reason, request.rule)
        return self._decide(call, before, grounds, _Outcome(REJECTED, self._reject(call, before, request.reason)))

    def ignore_moderation_item(
        self, call: Call, request: moderation_item_pb2.IgnoreModerationItemRequest
    ) -> ModerationItem:
        """Close reports."""
        before = self._lock_to_decide(call, request.moderation_item_id, request.etag)
        if before.kind != REPORT:
            raise self._forbidden(before, "Only reports are closed without a decision.", "NOT_A_REPORT")
        subject = self._subjects.of(call, before)
        subject.show()
        self._decide_reports(call, before, IGNORED)
        action = RESTORE if subject.is_hidden else KEEP
        return self._decide(call, before, Grounds(request.reason), _Outcome(CLOSED, action))

    def escalate_moderation_item(
        self, call: Call, request: moderation_item_pb2.EscalateModerationItemRequest
    ) -> ModerationItem:
        """Leave an item to others."""
        before = self._lock_to_decide(call, request.moderation_item_id, request.etag)
        after = self._ended(before, OPEN)
        after.is_escalated, after.note = True, request.note
        return self.rows.update(call, after, before)

    # Decisions -----------------------------------------------------------------------------------------------------

    def _approve(self, call: Call, item: ModerationItem) -> int:
        if item.kind == RUSH:
            return self._release_ratings(call, item, RELEASE_HELD, COUNT)
        subject = self._subjects.of(call, item)
        if item.kind == SUBMISSION:
            subject.publish()
            return PUBLISH
        if item.kind == APPEAL:
            self._restore(call, item, subject)
            return RESTORE
        subject.show()
        self._decide_reports(call, item, DISAGREED)
        return RESTORE if subject.is_hidden else KEEP

    def _restore(self, call: Call, item: ModerationItem, subject: AnyHeld) -> None:
        """Undo the decision of an appeal."""
        decided = call.reads.run(DECIDED_BY, tenant=call.tenant_id, decision=item.appealed_decision_id).row(0)
        if decided["action"] == REJECT:
            subject.restore(int(decided["facts"]["revision"]))
        else:
            subject.show()

    def _reject(self, call: Call, item: ModerationItem, reason: str) -> int:
        if item.kind == RUSH:
            return self._release_ratings(call, item, DROP_HELD, DROP)
        if item.kind == APPEAL:
            return UPHOLD
        subject = self._subjects.of(call, item)
        if item.kind == SUBMISSION:
            subject.refuse(reason)
            return REJECT
        subject.remove(reason)
        self._decide_reports(call, item, AGREED)
        return REMOVE

    def _decide(self, call: Call, before: ModerationItem, grounds: Grounds, outcome: _Outcome) -> ModerationItem:
        decision = decide(call, before, outcome.action, grounds)
        after = self._ended(before, outcome.state)
        # Behind all that waits.
        after.decision_id, after.score, after.report_count = decision.id, DONE, 0
        return self.rows.update(call, after, before)

    def _decide_reports(self, call: Call, item: ModerationItem, state: "StoryReport.State") -> None:
        """Decide the reports of an item, and tell those who made them, unless nothing was decided about its subject."""
        key = {"tenant": call.tenant_id, "item": item.id}
        reports = call.writes.run(DECIDE_REPORTS, **key, state=state, most=MOST_TOLD).all()
        if state == IGNORED:
            return
        former = call.audience
        for report in reports:
            call.audience = report["user_id"]
            call.emit(REPORT_DECIDED, report["id"], _outcome(item, report, state))
        call.audience = former

    def _release_ratings(self, call: Call, item: ModerationItem, statement: Statement, action: int) -> int:
        key = {"tenant": call.tenant_id, "story": item.story_id}
        call.writes.queue(statement, **key)
        call.writes.queue(RECOUNT, **key)
        return action

    # Conditions ----------------------------------------------------------------------------------------------------

    def _lock_to_decide(self, call: Call, item_id: str, etag: str) -> ModerationItem:
        """An item that the caller may decide as it is now."""
        item = self.rows.lock(call, item_id, etag=etag)
        self._expect_open(item)
        self._expect_allowed(call, item)
        is_claimed = _is_claimed(item, self._now(call))
        if is_claimed and item.claimed_by != call.caller.user_id:
            raise self._forbidden(item, "Somebody else is at it.", "CLAIMED")
        if not is_claimed and not etag and not call.metadata.get("if-match"):
            raise self._forbidden(item, "Claim it first, or send its ETag: it may have changed.", "UNCLAIMED")
        return item

    def _expect_open(self, item: ModerationItem) -> None:
        if item.state not in (OPEN, CLAIMED):
            raise self._forbidden(item, "It is decided.", ModerationItem.State.Name(item.state)[6:])

    def _expect_allowed(self, call: Call, item: ModerationItem) -> None:
        """Raise Denied for the author of the work, and for who decided what an appeal is against."""
        user_id = call.caller.user_id
        if item.author_id == user_id:
            raise Denied("Nobody decides about their own work.", metadata={"state": "OWN"})
        if item.is_escalated and not (call.access is not None and ESCALATED in call.access.permissions):
            raise Denied("It was left to others.", metadata={"permission": ESCALATED})
        if item.kind == APPEAL:
            found = call.reads.run(DECIDED_BY, tenant=call.tenant_id, decision=item.appealed_decision_id).first()
            if found is not None and found["moderator_id"] == user_id:
                raise Denied("Somebody else decides about an appeal.", metadata={"state": "SAME_MODERATOR"})

    # Parts ---------------------------------------------------------------------------------------------------------

    def _ended(self, before: ModerationItem, state: "ModerationItem.State") -> ModerationItem:
        """A copy that nobody is at."""
        after = self.rows.copy_of(before)
        after.state, after.claimed_by = state, ""
        after.ClearField("claim_expire_time")
        return after

    def _now(self, call: Call) -> datetime:
        """PostgreSQL's time, by which claims are judged."""
        now: datetime = call.writes.run(NOW).row(0)["now"]
        return now

    def _forbidden(self, item: ModerationItem, fault: str, state: str) -> StateForbids:
        return StateForbids(fault, metadata={"resource_type": self.rows.type, "resource": item.id, "state": state})


def _is_claimed(item: ModerationItem, now: datetime) -> bool:
    return item.state == CLAIMED and item.claim_expire_time.ToDatetime(now.tzinfo) > now


def _outcome(item: ModerationItem, report: Row, state: "StoryReport.State") -> StoryReportOutcome:
    """What somebody who reported is told."""
    return StoryReportOutcome(
        id=report["id"],
        story_id=item.story_id,
        subject_kind=item.subject_kind,
        title="" if item.subject_kind == COMMENT else item.title,
        state=state,
        user_id=report["user_id"],
    )
