"""Decisions: what moderators decided, and why. Their rows are only added to."""

from typing import NamedTuple

from plinth.stories.v1.moderation_decision_pb2 import ModerationDecision
from plinth.stories.v1.moderation_item_pb2 import ModerationItem
from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.stories.moderation_queue import COMMENT
from server.domains.stories.tables import moderation_decisions, moderation_items
from server.kernel.call import Call
from server.kernel.ids import new_id
from server.kernel.resources import ConversionPlan, Resource

PUBLISH, REJECT = ModerationDecision.ACTION_PUBLISH, ModerationDecision.ACTION_REJECT
KEEP, REMOVE, HIDE = ModerationDecision.ACTION_KEEP, ModerationDecision.ACTION_REMOVE, ModerationDecision.ACTION_HIDE
RESTORE, UPHOLD = ModerationDecision.ACTION_RESTORE, ModerationDecision.ACTION_UPHOLD
COUNT, DROP = ModerationDecision.ACTION_COUNT, ModerationDecision.ACTION_DROP
SILENT = frozenset((KEEP, COUNT, DROP))
"""What changes nothing for an author, who then need not know that somebody reported."""
RESTRICTING = frozenset((REJECT, REMOVE))
"""What authors appeal against."""
SEEN_BY = "stories.moderation.decide"
DECIDED = "moderation.decided"
DECISION = Resource(
    ModerationDecision,
    moderation_decisions,
    filterable=("id", "action", "subject_kind", "subject_id", "story_id", "create_time"),
    sortable=("create_time",),
    hidden=("facts",),
    owner="author_id",
    seen_by=SEEN_BY,
)
PLAN = ConversionPlan(ModerationDecision, moderation_decisions, DECISION.hidden, DECISION.computed)
_id = UUID(as_uuid=False)
_NAMES = (
    *("tenant_id", "id", "moderation_item_id", "subject_id", "story_id", "author_id", "subject_kind", "action"),
    *("title", "rule", "reason", "is_automated", "moderator_id", "appealed_decision_id", "facts"),
)
INSERT = Statement(
    lambda: (
        moderation_decisions.insert()
        .values({name: bindparam(f"new_{name}", type_=moderation_decisions.c[name].type) for name in _NAMES})
        .returning(*PLAN.columns)
    )
)
OPENED = Statement(
    select(moderation_items.c.open_time).where(
        moderation_items.c.tenant_id == bindparam("tenant", type_=_id),
        moderation_items.c.id == bindparam("item", type_=_id),
    )
)
"""Takes `tenant` and `item`."""
APPEALED = Statement(
    text(
        "UPDATE moderation_decisions SET is_appealed = true, version = version + 1, update_time = now()"
        " WHERE tenant_id = :tenant AND id = :decision AND NOT is_appealed RETURNING id"
    )
    .bindparams(bindparam("tenant", type_=_id), bindparam("decision", type_=_id))
    .columns(id=_id)
)
"""Takes `tenant` and `decision`. Finds nothing if somebody has appealed before."""


class Grounds(NamedTuple):
    """Why something was decided."""

    reason: str = ""
    rule: str = ""
    is_automated: bool = False


def decide(call: Call, item: ModerationItem, action: int, grounds: Grounds) -> ModerationDecision:
    """Keep a decision, and tell the author of it."""
    opened = call.writes.run(OPENED, tenant=call.tenant_id, item=item.id).row(0)["open_time"]
    facts = {
        "open_time": opened.isoformat(),
        "revision": item.revision_number,
        "score": item.score,
        "reports": item.report_count,
        "is_escalated": item.is_escalated,
    }
    new = {
        "tenant_id": call.tenant_id,
        "id": new_id(),
        "moderation_item_id": item.id,
        "subject_id": item.subject_id,
        "story_id": item.story_id,
        "author_id": item.author_id,
        "subject_kind": item.subject_kind,
        "action": action,
        # A comment may hold anything. It is not repeated in a log that everyone sees.
        "title": "" if item.subject_kind == COMMENT else item.title,
        "rule": grounds.rule,
        "reason": grounds.reason,
        "is_automated": grounds.is_automated,
        "moderator_id": None if grounds.is_automated else call.caller.user_id or None,
        "appealed_decision_id": item.appealed_decision_id or None,
        "facts": facts,
    }
    result = call.writes.run(INSERT, **{f"new_{name}": value for name, value in new.items()})
    decision = PLAN.message(result.raw(0))
    if action in SILENT:
        return decision
    told = ModerationDecision()
    told.CopyFrom(decision)
    # Authors are not told who decided.
    told.moderator_id = ""
    former, call.audience = call.audience, item.author_id
    call.emit(DECIDED, decision.id, told)
    call.audience = former
    return decision
