"""Decisions, appeals, the public log and figures."""

from datetime import timedelta

from plinth.stories.v1 import moderation_decision_pb2
from plinth.stories.v1.moderation_decision_pb2 import (
    ListModerationLogResponse,
    ModerationDecision,
    ModerationLogEntry,
    ModerationStats,
    ReporterStats,
)
from plinth.stories.v1.moderation_item_pb2 import ModerationItem
from sqlalchemy import DateTime, Integer, bindparam, select, text, tuple_
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnySelect
from server.data.statements import Statement
from server.domains.stories.decisions import APPEALED, DECISION, RESTRICTING, SEEN_BY
from server.domains.stories.moderation_items import ITEM
from server.domains.stories.moderation_queue import APPEAL, Subject, open_item
from server.domains.stories.report_weights import weight_of
from server.domains.stories.tables import moderation_decisions
from server.domains.stories.trends import BEGINNING
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.problems import StateForbids, not_found
from server.kernel.queries import PageTokens, page_size
from server.kernel.resources import Hooks, ReadRows, Service

APPEAL_WITHIN = timedelta(days=183)
"""Six months, as article 20 of the Digital Services Act has it (Regulation (EU) 2022/2065)."""
LOOKED_BACK = 30
MOST_REPORTERS = 20
FIGURES = (
    *("open", "oldest_open_seconds", "reports", "decisions", "restrictions", "automated", "appeals"),
    *("appeals_upheld", "median_seconds"),
)
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_id = UUID(as_uuid=False)
_d = moderation_decisions.c
_tenant = bindparam("tenant", type_=_id)
OPEN_APPEAL = Statement(
    text(
        "SELECT id FROM moderation_items"
        " WHERE tenant_id = :tenant AND subject_kind = :subject_kind AND subject_id = :subject AND kind = 4"
        " AND state IN (1, 2)"
    )
    .bindparams(_tenant, bindparam("subject_kind", type_=Integer()), bindparam("subject", type_=_id))
    .columns(id=_id)
)
"""Takes `tenant`, `subject_kind` and `subject`."""
STATS = Statement(
    text(
        """
SELECT (SELECT count(*) FROM moderation_items i WHERE i.tenant_id = :tenant AND i.state IN (1, 2))::integer AS open,
       coalesce((SELECT extract(epoch FROM now() - min(i.open_time)) FROM moderation_items i
                  WHERE i.tenant_id = :tenant AND i.state IN (1, 2)), 0)::integer AS oldest_open_seconds,
       (SELECT count(*) FROM story_reports r
         WHERE r.tenant_id = :tenant AND r.create_time >= :since)::integer AS reports,
       d.*
  FROM (SELECT count(*)::integer AS decisions,
               count(*) FILTER (WHERE action IN (2, 4, 5))::integer AS restrictions,
               count(*) FILTER (WHERE is_automated)::integer AS automated,
               count(*) FILTER (WHERE appealed_decision_id IS NOT NULL)::integer AS appeals,
               count(*) FILTER (WHERE appealed_decision_id IS NOT NULL AND action = 6)::integer AS appeals_upheld,
               coalesce(percentile_cont(0.5) WITHIN GROUP (
                   ORDER BY extract(epoch FROM d.create_time - (d.facts ->> 'open_time')::timestamptz)
               ) FILTER (WHERE NOT is_automated), 0)::integer AS median_seconds
          FROM moderation_decisions d WHERE d.tenant_id = :tenant AND d.create_time >= :since) d"""
    )
    .bindparams(_tenant, bindparam("since", type_=DateTime(timezone=True)))
    .columns(**dict.fromkeys(FIGURES, Integer()))
)
"""Takes `tenant` and `since`."""
REPORTERS = Statement(
    text(
        """
SELECT user_id, agreed, disagreed, ignored FROM story_reporters WHERE tenant_id = :tenant
 ORDER BY agreed + disagreed + ignored DESC, user_id LIMIT :most"""
    )
    .bindparams(_tenant, bindparam("most", type_=Integer()))
    .columns(user_id=_id, agreed=Integer(), disagreed=Integer(), ignored=Integer())
)
"""Takes `tenant` and `most`."""


class ModerationDecisionService(Service[ModerationDecision]):
    """Decisions."""

    descriptor = moderation_decision_pb2.DESCRIPTOR.services_by_name["ModerationDecisionService"]
    resource = DECISION

    def present(self, call: Call, resources: list[ModerationDecision]) -> None:
        """Tell moderators alone who decided."""
        if call.access is None or SEEN_BY not in call.access.permissions:
            for each in resources:
                each.moderator_id = ""


class ModerationAppealService(Service):
    """Appeals."""

    descriptor = moderation_decision_pb2.DESCRIPTOR.services_by_name["ModerationAppealService"]

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__()
        self._clock = clock
        self._items, self._decisions = ReadRows(Hooks(), ITEM), ReadRows(Hooks(), DECISION)

    def appeal_moderation_decision(
        self, call: Call, request: moderation_decision_pb2.AppealModerationDecisionRequest
    ) -> ModerationItem:
        """Appeal against a decision."""
        if not call.caller.user_id:
            # An API key has written nothing that was decided about.
            raise not_found(self._decisions.type, request.moderation_decision_id)
        decision = self._decisions.get(call, request.moderation_decision_id)
        if decision.author_id != call.caller.user_id:
            # Moderators see it, and it is not theirs either.
            raise not_found(self._decisions.type, decision.id)
        if decision.action not in RESTRICTING:
            raise self._forbidden(decision, "It restricts nothing.", "NOT_RESTRICTING")
        if self._clock() - decision.create_time.ToDatetime(BEGINNING.tzinfo) > APPEAL_WITHIN:
            raise self._forbidden(decision, "It is older than six months.", "EXPIRED")
        key = {"tenant": call.tenant_id, "decision": decision.id}
        if not call.writes.run(APPEALED, **key).returned:
            raise self._forbidden(decision, "There was an appeal against it.", "APPEALED")
        about = {"subject_kind": decision.subject_kind, "subject": decision.subject_id}
        if call.writes.run(OPEN_APPEAL, tenant=call.tenant_id, **about).returned:
            raise self._forbidden(decision, "Another appeal about the same work is not decided.", "APPEALED")
        subject = Subject(
            decision.subject_kind, decision.subject_id, decision.story_id, decision.author_id, decision.title
        )
        item_id = open_item(call, APPEAL, subject, decision_id=decision.id, words=request.text)
        item = self._items.get(call, item_id)
        call.audience = decision.author_id
        return item

    def _forbidden(self, decision: ModerationDecision, fault: str, state: str) -> StateForbids:
        metadata = {"resource_type": self._decisions.type, "resource": decision.id, "state": state}
        return StateForbids(fault, metadata=metadata)


class ModerationOverviewService(Service):
    """The public log, and figures."""

    descriptor = moderation_decision_pb2.DESCRIPTOR.services_by_name["ModerationOverviewService"]

    def __init__(self, tokens: PageTokens, clock: Clock = utc_now) -> None:
        super().__init__()
        self._tokens, self._clock = tokens, clock
        self._log = Statement(self._entries)

    def list_moderation_log(
        self, call: Call, request: moderation_decision_pb2.ListModerationLogRequest
    ) -> ListModerationLogResponse:
        """List what everyone may know."""
        question = f"{call.method.path}\n{call.tenant_id}"
        cursor = self._tokens.read(question, request.page_token) if request.page_token else {}
        after, last = tuple(cursor.values()) or (self._clock() + timedelta(days=1), LAST_ID)
        size = page_size(request.page_size)
        rows = call.reads.run(self._log, tenant=call.tenant_id, after=after, last=last, limit=size + 1).all()
        entries = [
            ModerationLogEntry(**{name: value for name, value in row.items() if value is not None})
            for row in rows[:size]
        ]
        token = ""
        if len(rows) > size:
            token = self._tokens.write(question, [rows[size - 1]["create_time"], rows[size - 1]["id"]])
        return ListModerationLogResponse(entries=entries, next_page_token=token)

    def get_moderation_stats(
        self, call: Call, request: moderation_decision_pb2.GetModerationStatsRequest
    ) -> ModerationStats:
        """Get figures."""
        days = request.days or LOOKED_BACK
        since = (self._clock() - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
        figures = call.reads.run(STATS, tenant=call.tenant_id, since=since).row(0)
        rows = call.reads.run(REPORTERS, tenant=call.tenant_id, most=MOST_REPORTERS).all()
        reporters = [
            ReporterStats(**row, weight=weight_of(row["agreed"], row["disagreed"], is_moderator=False)) for row in rows
        ]
        return ModerationStats(days=days, reporters=reporters, **figures)

    def _entries(self) -> AnySelect:
        """The entries of the log after a place. Takes `tenant`, `after` and `last`, and `limit`."""
        after = tuple_(bindparam("after", type_=DateTime(timezone=True)), bindparam("last", type_=_id))
        names = ("id", "action", "subject_kind", "story_id", "title", "rule", "reason", "is_automated", "create_time")
        is_appeal = _d.appealed_decision_id.is_not(None).label("is_appeal")
        return (
            select(*(_d[name] for name in names), is_appeal)
            .where(_d.tenant_id == _tenant, tuple_(_d.create_time, _d.id) < after)
            .order_by(_d.create_time.desc(), _d.id.desc())
            .limit(bindparam("limit", type_=Integer()))
        )
