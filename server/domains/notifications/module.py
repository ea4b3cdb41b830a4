"""Notifications: what people of a tenant are told."""

from datetime import timedelta

from server.data.grants import Grants
from server.domains.notifications.inbox import InboxService
from server.domains.notifications.notification_preferences import NotificationPreferencesService
from server.domains.notifications.notification_schedules import NotificationScheduleService
from server.domains.notifications.notification_sending import NotificationSendingService
from server.domains.notifications.notifications import NotificationService
from server.domains.notifications.tables import (
    notification_counts,
    notification_preferences,
    notification_runs,
    notification_schedules,
    notifications,
)
from server.kernel.module import Background, Expire, Module, Platform, Serve, WorkerPlatform
from server.kernel.privacy import Export, NotPersonal, Remove
from server.kernel.roles import ORDINARY_ROLES

TABLES = (notifications, notification_counts, notification_runs, notification_preferences)
KEPT, RUNS_KEPT = timedelta(days=365), timedelta(days=30)
OWN = (
    *(f"notifications.notifications.{verb}" for verb in ("read", "update", "delete")),
    *("notifications.preferences.read", "notifications.preferences.update"),
)


def _inbox(platform: Platform) -> InboxService:
    return InboxService(
        platform.page_tokens,
        live=platform.live,
        access=platform.current_access,
        downloads=platform.downloads,
    )


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.notifications.event_telling import EventTeller  # noqa: PLC0415 - in workers only
    from server.domains.notifications.event_workflows import EVENT_WORKFLOWS  # noqa: PLC0415
    from server.domains.notifications.scheduled_sending import ScheduledSending  # noqa: PLC0415
    from server.domains.notifications.sweeping import Sweeper  # noqa: PLC0415
    from server.kernel.following import LogFollower  # noqa: PLC0415

    teller = EventTeller(platform.database, platform.ports.memberships, platform.clock)
    follower = LogFollower(
        *("notifications", EVENT_WORKFLOWS, teller.handle),
        dispatch=platform.quick_dispatch,
        hints=platform.hints,
        threads=platform.house_threads,
    )
    memberships = platform.ports.memberships
    sending = ScheduledSending(platform.dispatch, platform.database, memberships, platform.clock)
    sweeper = Sweeper(platform.dispatch, platform.clock)
    return Background(schedules=(*sweeper.schedules, sending.schedule), services=(follower,))


MODULE = Module(
    "notifications",
    services=(
        Serve(
            NotificationSendingService,
            lambda platform: NotificationSendingService(platform.ports.memberships, platform.clock),
        ),
        Serve(NotificationService, lambda platform: NotificationService(platform.page_tokens, platform.clock)),
        Serve(InboxService, _inbox),
        Serve(NotificationScheduleService, lambda platform: NotificationScheduleService(platform.clock)),
        Serve(NotificationPreferencesService, lambda platform: NotificationPreferencesService(platform.clock)),
    ),
    roles=dict.fromkeys(ORDINARY_ROLES, OWN),
    grants=Grants(
        dispatch_writes=("notifications", "notification_counts", "notification_runs", "notification_schedules")
    ),
    retention=(
        Expire(table=notifications, by="create_time", after=KEPT, every_tenant=True),
        Expire(table=notification_runs, by="create_time", after=RUNS_KEPT, every_tenant=True),
        # What is due is sent long before.
        Expire(table=notification_schedules, by="send_time", after=RUNS_KEPT, every_tenant=True),
    ),
    erases=(
        *(Remove(table, by="user_id") for table in TABLES),
        NotPersonal(
            notification_schedules, "user_ids", "actor_id", why="ids, which name nobody once their accounts are erased"
        ),
        NotPersonal(notification_schedules, "message", why="what a tenant tells; it goes 30 days after it was sent"),
    ),
    exports=tuple(Export(table, by="user_id") for table in TABLES),
    background=_background,
)
