"""What people want to be told."""

from plinth.notifications.v1 import notification_preferences_pb2
from plinth.notifications.v1.notification_preferences_pb2 import NotificationPreferences, NotificationRule

from server.domains.notifications.choices import effective, scope_of
from server.domains.notifications.tables import notification_preferences
from server.domains.notifications.workflows import CATEGORIES, WORKFLOWS
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Resource, Service
from server.kernel.time_zones import time_zone_faults

KNOWN = {NotificationRule.SCOPE_CATEGORY: CATEGORIES, NotificationRule.SCOPE_WORKFLOW: frozenset(WORKFLOWS)}


class NotificationPreferencesService(Service[NotificationPreferences]):
    """Preferences."""

    descriptor = notification_preferences_pb2.DESCRIPTOR.services_by_name["NotificationPreferencesService"]
    resource = Resource(
        NotificationPreferences,
        notification_preferences,
        singleton=True,
        owner="user_id",
        seen_by="notifications.preferences.manage",
        computed=("effective",),
    )

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def check(self, call: Call, resource: NotificationPreferences, before: NotificationPreferences | None) -> None:
        """Refuse rules about nothing that is known, two about the same, and an unknown time zone."""
        del call, before
        violations = []
        seen = set()
        for place, rule in enumerate(resource.rules):
            path, what = f"notification_preferences.rules[{place}]", (scope_of(rule), rule.key, rule.channel)
            fault = _fault(rule)
            if fault:
                violations.append(Violation(f"{path}.key", fault, "notification.rule"))
            if what in seen:
                violations.append(Violation(path, "is about the same as another rule", "notification.rule"))
            seen.add(what)
        zone = "notification_preferences.quiet_hours.time_zone"
        violations += time_zone_faults(zone, resource.quiet_hours.time_zone)
        if violations:
            raise broken_rules(violations)

    def present(self, call: Call, resources: list[NotificationPreferences]) -> None:
        """Tell what follows from them."""
        del call
        for resource in resources:
            del resource.effective[:]
            resource.effective.extend(effective(resource.rules, self._clock()))


def _fault(rule: NotificationRule) -> str:
    """What is wrong with the key of a rule; empty if nothing is."""
    scope = scope_of(rule)
    if scope == NotificationRule.SCOPE_ALL:
        return "is empty for ALL" if rule.key else ""
    if not rule.key:
        return "is required"
    known = KNOWN.get(scope)
    return "" if known is None or rule.key in known else f"is none of {', '.join(sorted(known))}"
