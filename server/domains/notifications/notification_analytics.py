"""Figures of what people were told, and what is behind them."""

from dataclasses import replace
from datetime import timedelta

from plinth.notifications.v1 import notification_analytics_pb2
from plinth.notifications.v1.notification_analytics_pb2 import (
    ListNotificationAnalyticsMembersResponse,
    ListNotificationDeliveryAnalyticsMembersResponse,
    NotificationAnalytics,
)
from sqlalchemy import ColumnElement, Text, bindparam, literal_column, or_

from server.data.clauses import AnyColumn
from server.data.statements import Row
from server.domains.notifications.delivery_queue import (
    CANCELLED,
    DEFERRED,
    EXPIRED,
    FAILED,
    MERGED,
    QUEUED,
    RETRYING,
    SENDING,
    SENT,
    UNCERTAIN,
)
from server.domains.notifications.notification_deliveries import DELIVERY
from server.domains.notifications.notifications import NOTIFICATION
from server.domains.notifications.tables import notification_deliveries, notifications
from server.domains.notifications.workflows import EMAIL, PUSH
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.queries import PageTokens
from server.kernel.read_models import Count, Figures, Members, Series, Share, Zones
from server.kernel.resources import ReadRows, Service

_n, _v = notifications.c, notification_deliveries.c
_asked = bindparam("asked_workflow", type_=Text())


def _of_workflow(column: AnyColumn) -> ColumnElement[bool]:
    return or_(_asked == literal_column("''"), column == _asked)


def _parameters(call: Call) -> Row:
    return {"asked_workflow": call.request.workflow}


def _is_in(*states: int) -> ColumnElement[bool]:
    return _v.state.in_([literal_column(str(int(state))) for state in states])


def _sent_by(channel: int) -> ColumnElement[bool]:
    return _is_in(SENT) & (_v.channel == literal_column(str(int(channel))))


_is_seen, _is_read = _n.seen_time.is_not(None), _n.read_time.is_not(None)
TOLD = Series(
    name="notifications",
    table=notifications,
    time="create_time",
    where=_of_workflow(_n.workflow),
    parameters=_parameters,
    measures=(
        Count(name="total"),
        Count(name="confirmed", where=_n.deliver_time.is_not(None)),
        Count(name="seen", where=_is_seen),
        Count(name="read", where=_is_read),
        Share(name="seen_rate", part=_is_seen),
        Share(name="read_rate", part=_is_read),
    ),
)
DELIVERED = Series(
    name="notification_deliveries",
    table=notification_deliveries,
    time="create_time",
    where=_of_workflow(_v.workflow),
    parameters=_parameters,
    measures=(
        Count(name="total"),
        Count(name="mails", where=_sent_by(EMAIL)),
        Count(name="pushes", where=_sent_by(PUSH)),
        Count(name="merged", where=_is_in(MERGED)),
        Count(name="waiting", where=_is_in(QUEUED, DEFERRED, SENDING, RETRYING)),
        Count(name="cancelled", where=_is_in(CANCELLED, EXPIRED)),
        Count(name="failed", where=_is_in(FAILED)),
        Count(name="uncertain", where=_is_in(UNCERTAIN)),
        Share(name="failure_rate", part=_is_in(FAILED)),
    ),
)
Asked = (
    notification_analytics_pb2.GetNotificationAnalyticsRequest
    | notification_analytics_pb2.GetNotificationDeliveryAnalyticsRequest
)


class NotificationAnalyticsService(Service):
    """Figures. Their members are everybody's, for who may see those."""

    descriptor = notification_analytics_pb2.DESCRIPTOR.services_by_name["NotificationAnalyticsService"]

    def __init__(
        self, tokens: PageTokens, zones: Zones, clock: Clock, *, kept: timedelta, deliveries_kept: timedelta
    ) -> None:
        super().__init__()
        self._told = Figures(series=TOLD, clock=clock, kept=kept, zones=zones)
        self._delivered = Figures(series=DELIVERED, clock=clock, kept=deliveries_kept, zones=zones)
        notification, delivery = (replace(each, owner="", seen_by="") for each in (NOTIFICATION, DELIVERY))
        self._notifications = Members(self._told, ReadRows(self, notification), tokens)
        self._deliveries = Members(self._delivered, ReadRows(self, delivery), tokens)

    def get_notification_analytics(
        self, call: Call, request: notification_analytics_pb2.GetNotificationAnalyticsRequest
    ) -> NotificationAnalytics:
        """Of inboxes."""
        return _read(self._told, call, request)

    def list_notification_analytics_members(
        self, call: Call, request: notification_analytics_pb2.ListNotificationAnalyticsMembersRequest
    ) -> ListNotificationAnalyticsMembersResponse:
        """The notifications behind a figure."""
        found, token = self._notifications.page(call, request.range, request.metric, request)
        return ListNotificationAnalyticsMembersResponse(notifications=found, next_page_token=token)

    def get_notification_delivery_analytics(
        self, call: Call, request: notification_analytics_pb2.GetNotificationDeliveryAnalyticsRequest
    ) -> NotificationAnalytics:
        """Of mail and push."""
        return _read(self._delivered, call, request)

    def list_notification_delivery_analytics_members(
        self, call: Call, request: notification_analytics_pb2.ListNotificationDeliveryAnalyticsMembersRequest
    ) -> ListNotificationDeliveryAnalyticsMembersResponse:
        """The deliveries behind a figure."""
        found, token = self._deliveries.page(call, request.range, request.metric, request)
        return ListNotificationDeliveryAnalyticsMembersResponse(notification_deliveries=found, next_page_token=token)


def _read(figures: Figures, call: Call, request: Asked) -> NotificationAnalytics:
    bucket = request.bucket if request.include_series else None
    reading = figures.read(call, request.range, bucket=bucket, compare=request.compare)
    return NotificationAnalytics(metrics=reading.metrics, series=reading.series)
