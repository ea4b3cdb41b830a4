"""Templates of notifications."""

from plinth.notifications.v1 import notification_template_pb2
from plinth.notifications.v1.notification_template_pb2 import NotificationTemplate, NotificationText

from server.domains.notifications.tables import notification_templates
from server.domains.notifications.texts import filled, variables_of
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.locales import usual_form
from server.kernel.messages import plain_struct
from server.kernel.problems import StateForbids
from server.kernel.resources import Resource, Service

MOST = 500
FIELD = "notification_template"


class NotificationTemplateService(Service[NotificationTemplate]):
    """Templates."""

    descriptor = notification_template_pb2.DESCRIPTOR.services_by_name["NotificationTemplateService"]
    resource = Resource(
        NotificationTemplate,
        notification_templates,
        filterable=("id", "key", "locale", "display_name", "version_number", "create_time", "update_time"),
        sortable=("create_time", "key"),
        unique={"notification_templates_key_key": "key"},
        most=MOST,
    )

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def prepare(self, call: Call, resource: NotificationTemplate, before: NotificationTemplate | None) -> None:
        """Write the locale in its usual form."""
        del call, before
        resource.locale = usual_form(resource.locale)

    def check(self, call: Call, resource: NotificationTemplate, before: NotificationTemplate | None) -> None:
        """Refuse what is none of the language. What the draft names becomes `variables`."""
        del call
        if before is None or _draft(resource) != _draft(before):
            resource.variables[:] = variables_of(_draft(resource), FIELD)

    def publish_notification_template(
        self, call: Call, request: notification_template_pb2.PublishNotificationTemplateRequest
    ) -> NotificationTemplate:
        """Make messages from the draft from now on."""
        before = self.rows.lock(call, request.notification_template_id, etag=request.etag)
        text = NotificationText(**_draft(before))
        if before.HasField("published") and before.published == text:
            metadata = {"resource_type": self.rows.type, "resource": before.id, "state": "published"}
            raise StateForbids("The draft has not changed since it was published.", metadata=metadata)
        after = self.rows.copy_of(before)
        after.published.CopyFrom(text)
        after.version_number += 1
        after.publish_time.FromDatetime(self._clock())
        return self.rows.update(call, after, before)

    def preview_notification_template(
        self, call: Call, request: notification_template_pb2.PreviewNotificationTemplateRequest
    ) -> NotificationText:
        """Show what values make of the draft."""
        template = self.rows.get(call, request.notification_template_id)
        return filled(_draft(template), plain_struct(request.values), "values")


def _draft(template: NotificationTemplate) -> dict[str, str]:
    return {"title": template.title, "body": template.body, "url": template.url}
