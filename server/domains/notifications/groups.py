"""Groups: the notifications of an inbox by what they have in common."""

from plinth.notifications.v1.inbox_pb2 import (
    ListNotificationGroupsRequest,
    ListNotificationGroupsResponse,
    NotificationGroup,
)
from sqlalchemy import DateTime, Integer, Text, bindparam, cast, func, literal_column, or_, select, tuple_
from sqlalchemy.dialects.postgresql import UUID, distinct_on

from server.data.statements import Statement
from server.domains.notifications.tables import notifications
from server.domains.notifications.telling import PLAN
from server.kernel.call import Call
from server.kernel.queries import PageTokens

USUAL, MOST = 25, 100
_id = UUID(as_uuid=False)
_n = notifications.c
_key = func.coalesce(func.nullif(_n.group_key, literal_column("''")), cast(_n.id, Text))
_each = func.count().over(partition_by=_key)
_unread = func.count().filter(_n.unread).over(partition_by=_key)
_groups = (
    select(*PLAN.columns, cast(_each, Integer).label("count"), cast(_unread, Integer).label("unread_count"))
    .ext(distinct_on(_key))
    .where(
        _n.tenant_id == bindparam("tenant", type_=_id),
        _n.user_id == bindparam("user", type_=_id),
        _n.archive_time.is_(None),
        or_(_n.expire_time.is_(None), _n.expire_time > func.now()),
    )
    .order_by(_key, _n.create_time.desc(), _n.id.desc())
    .subquery("groups")
)
_last = (bindparam("after_0", type_=DateTime(timezone=True)), bindparam("after_1", type_=_id))
_newest = (_groups.c.create_time, _groups.c.id)
_page = select(_groups).order_by(*(each.desc() for each in _newest)).limit(bindparam("limit", type_=Integer()))
FIRST = Statement(_page)
NEXT = Statement(_page.where(tuple_(*_newest) < tuple_(*_last)))
"""Both take `tenant`, `user` and `limit`; the second one also where the page before has ended."""


class NotificationGroups:
    """Pages of groups."""

    def __init__(self, tokens: PageTokens) -> None:
        self._tokens = tokens

    def page(self, call: Call, user_id: str, request: ListNotificationGroupsRequest) -> ListNotificationGroupsResponse:
        """A page. Raises Malformed for a token of another list."""
        size = min(request.page_size or USUAL, MOST)
        question = f"{call.method.path}\n{call.tenant_id}\n{user_id}"
        after = self._tokens.read(question, request.page_token) if request.page_token else {}
        statement = NEXT if after else FIRST
        result = call.reads.run(statement, tenant=call.tenant_id, user=user_id, limit=size + 1, **after)
        rows = result.all()[:size]
        newest = [PLAN.message(result.raw(place)[: len(PLAN.columns)]) for place in range(len(rows))]
        answer = ListNotificationGroupsResponse()
        for row, notification in zip(rows, newest, strict=True):
            answer.groups.append(
                NotificationGroup(
                    group_key=notification.group_key,
                    newest=notification,
                    count=row["count"],
                    unread_count=row["unread_count"],
                )
            )
        if len(result.all()) > size:
            answer.next_page_token = self._tokens.write(question, [rows[-1]["create_time"], rows[-1]["id"]])
        return answer
