"""Notifications: what people of a tenant are told."""

from datetime import timedelta

from server.data.grants import Grants
from server.domains.notifications.inbox import InboxService
from server.domains.notifications.notification_analytics import NotificationAnalyticsService
from server.domains.notifications.notification_connections import ConnectionReports, NotificationConnectionService
from server.domains.notifications.notification_deliveries import NotificationDeliveryService
from server.domains.notifications.notification_devices import NotificationDeviceService, PushKeyService
from server.domains.notifications.notification_preferences import NotificationPreferencesService
from server.domains.notifications.notification_schedules import NotificationScheduleService
from server.domains.notifications.notification_sending import NotificationSendingService
from server.domains.notifications.notification_templates import NotificationTemplateService
from server.domains.notifications.notifications import NotificationService
from server.domains.notifications.settings import NotificationSettings
from server.domains.notifications.subscriptions import SEALED, box_of
from server.domains.notifications.tables import (
    notification_counts,
    notification_deliveries,
    notification_devices,
    notification_preferences,
    notification_runs,
    notification_schedules,
    notification_templates,
    notifications,
)
from server.domains.notifications.telling import Teller
from server.domains.notifications.vapid import VapidKeys
from server.kernel.module import Background, Expire, Module, Platform, Serve, WorkerPlatform
from server.kernel.privacy import Export, NotPersonal, Remove
from server.kernel.read_models import Zones, tenant_zone
from server.kernel.resealing import Resealer
from server.kernel.roles import ORDINARY_ROLES
from server.settings import Settings

TABLES = (
    notifications,
    notification_counts,
    notification_runs,
    notification_preferences,
    notification_deliveries,
    notification_devices,
)
KEPT, RUNS_KEPT, DELIVERIES_KEPT = timedelta(days=365), timedelta(days=30), timedelta(days=90)
RESEAL = "notifications.reseal_subscriptions"
OWN = (
    *(f"notifications.notifications.{verb}" for verb in ("read", "update", "delete")),
    *("notifications.preferences.read", "notifications.preferences.update"),
    *(f"notifications.devices.{verb}" for verb in ("read", "create", "delete")),
    "notifications.deliveries.read",
)


def _inbox(platform: Platform) -> InboxService:
    return InboxService(
        platform.page_tokens,
        live=platform.live,
        access=platform.current_access,
        downloads=platform.downloads,
    )


def _teller(platform: Platform | WorkerPlatform) -> Teller:
    rates = platform.settings.own(NotificationSettings).outgoing_rates
    return Teller(platform.ports, rates, platform.clock)


def _sending(platform: Platform) -> NotificationSendingService:
    return NotificationSendingService(_teller(platform), platform.ports.memberships)


def _keys(settings: Settings) -> VapidKeys:
    contact = settings.own(NotificationSettings).notification_push_contact
    return VapidKeys(settings.secrets, contact or settings.api_address())


def _devices(platform: Platform) -> NotificationDeviceService:
    settings = platform.settings
    has_fcm = settings.own(NotificationSettings).notification_fcm_credentials_file is not None
    return NotificationDeviceService(box_of(settings.secrets), _keys(settings), platform.egress, has_fcm=has_fcm)


def _analytics(platform: Platform) -> NotificationAnalyticsService:
    zones = Zones(tenant_zone(platform.ports.tenant_preferences))
    return NotificationAnalyticsService(
        platform.page_tokens, zones, platform.clock, kept=KEPT, deliveries_kept=DELIVERIES_KEPT
    )


def _connections(platform: Platform) -> NotificationConnectionService:
    reports = ConnectionReports(platform.statistics("streams"), platform.live, platform.process)
    return NotificationConnectionService(reports)


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.notifications.broadcasting import Broadcaster  # noqa: PLC0415 - in workers only
    from server.domains.notifications.delivering import Deliverer  # noqa: PLC0415
    from server.domains.notifications.event_telling import EventTeller  # noqa: PLC0415
    from server.domains.notifications.event_workflows import EVENT_WORKFLOWS  # noqa: PLC0415
    from server.domains.notifications.fcm import fcm_of  # noqa: PLC0415
    from server.domains.notifications.gauges import DeliveryGauges  # noqa: PLC0415
    from server.domains.notifications.preparing import Preparer  # noqa: PLC0415
    from server.domains.notifications.scheduled_sending import ScheduledSending  # noqa: PLC0415
    from server.domains.notifications.sweeping import Sweeper  # noqa: PLC0415
    from server.kernel.following import LogFollower  # noqa: PLC0415

    settings, box = platform.settings, box_of(platform.settings.secrets)
    teller = _teller(platform)
    event_teller = EventTeller(platform.database, platform.ports.memberships, teller)
    follower = LogFollower(
        *("notifications", EVENT_WORKFLOWS, event_teller.handle),
        dispatch=platform.quick_dispatch,
        hints=platform.hints,
        threads=platform.house_threads,
    )
    own, keys = settings.own(NotificationSettings), _keys(settings)
    deliverer = Deliverer(
        platform.quick_dispatch,
        platform.house_threads,
        Preparer(platform.database, platform.ports, own, box=box, keys=keys, clock=platform.clock),
        platform.senders,
        keys=keys,
        fcm=fcm_of(settings, platform.providers),
        at_once=own.notification_push_concurrency,
        clock=platform.clock,
    )
    sending = ScheduledSending(platform.dispatch, platform.database, teller, platform.clock)
    sweeper = Sweeper(platform.dispatch, platform.clock)
    resealer = Resealer(platform.dispatch, box, SEALED, RESEAL)
    return Background(
        long_jobs=(Broadcaster(teller, platform.ports.memberships).long_job,),
        schedules=(*sweeper.schedules, sending.schedule, resealer.schedule),
        services=(
            *(follower, deliverer, resealer.at_start(platform.house_threads)),
            DeliveryGauges(platform.quick_dispatch, platform.house_threads),
        ),
    )


MODULE = Module(
    "notifications",
    services=(
        Serve(NotificationSendingService, _sending),
        Serve(NotificationService, lambda platform: NotificationService(platform.page_tokens, platform.clock)),
        Serve(InboxService, _inbox),
        Serve(NotificationScheduleService, lambda platform: NotificationScheduleService(platform.clock)),
        Serve(NotificationPreferencesService, lambda platform: NotificationPreferencesService(platform.clock)),
        Serve(NotificationTemplateService, lambda platform: NotificationTemplateService(platform.clock)),
        Serve(NotificationDeviceService, _devices),
        Serve(PushKeyService, lambda platform: PushKeyService(_keys(platform.settings))),
        NotificationDeliveryService,
        Serve(NotificationAnalyticsService, _analytics),
        Serve(NotificationConnectionService, _connections),
    ),
    settings=NotificationSettings,
    roles=dict.fromkeys(ORDINARY_ROLES, OWN),
    grants=Grants(
        dispatch_writes=(
            *("notifications", "notification_counts", "notification_runs", "notification_schedules"),
            *("notification_deliveries", "notification_devices"),
        )
    ),
    retention=(
        Expire(table=notifications, by="create_time", after=KEPT, every_tenant=True),
        Expire(table=notification_runs, by="create_time", after=RUNS_KEPT, every_tenant=True),
        Expire(table=notification_deliveries, by="create_time", after=DELIVERIES_KEPT, every_tenant=True),
        # What is due is sent long before.
        Expire(table=notification_schedules, by="send_time", after=RUNS_KEPT, every_tenant=True),
    ),
    erases=(
        *(Remove(table, by="user_id") for table in TABLES),
        NotPersonal(
            notification_schedules, "user_ids", "actor_id", why="ids, which name nobody once their accounts are erased"
        ),
        NotPersonal(
            *(notification_schedules, "message", "texts"),
            why="what a tenant tells; it goes 30 days after it was sent",
        ),
        NotPersonal(
            notification_templates,
            *("key", "locale", "display_name", "title", "body", "url", "variables", "published"),
            why="what a tenant writes to everybody",
        ),
    ),
    exports=tuple(Export(table, by="user_id") for table in TABLES),
    background=_background,
)
