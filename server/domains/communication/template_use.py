"""The use of templates: a new message takes its subject, its text and its HTML from one that was published."""

from collections.abc import Callable

from plinth.communication.v1.email_message_pb2 import EmailMessage
from sqlalchemy import Text, and_, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Statement
from server.data.transactions import Transaction
from server.domains.communication.plain_text import plain_text_of
from server.domains.communication.rendering import Content, rendered
from server.domains.communication.tables import email_template_versions, email_templates
from server.kernel.call import Call
from server.kernel.locales import stand_ins
from server.kernel.messages import plain_struct
from server.kernel.ports import TenantPreferences
from server.kernel.problems import Violation, broken_rules

FIELD = "email_message"
_t, _v = email_templates.c, email_template_versions.c
_locales = bindparam("locales", type_=ARRAY(Text))
PUBLISHED = Statement(
    select(_v.id, _v.subject, _v.html, _v.text)
    .select_from(email_templates)
    .join(
        email_template_versions,
        and_(_v.tenant_id == _t.tenant_id, _v.email_template_id == _t.id, _v.number == _t.version_number),
    )
    .where(
        _t.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
        _t.key == bindparam("key", type_=Text),
        _t.locale == any_(_locales),
    )
    .order_by(func.array_position(_locales, _t.locale))
    .limit(1)
)


class TemplateUse:
    """Fills new messages."""

    def __init__(self, preferences_of: Callable[[Transaction, str], TenantPreferences]) -> None:
        self._preferences_of = preferences_of

    def fill(self, call: Call, message: EmailMessage) -> None:
        """Give a new message what it sends, from its template if it names one. Raises RuleViolated."""
        if message.HasField("template"):
            self._fill_from_template(call, message)
        faults = [
            Violation(f"{FIELD}.{name}", "is required, unless a template makes it", "required")
            for name, is_there in (("subject", message.subject), ("text", message.text or message.html))
            if not is_there
        ]
        if faults:
            raise broken_rules(faults)
        message.text = message.text or plain_text_of(message.html)

    def _fill_from_template(self, call: Call, message: EmailMessage) -> None:
        faults = [
            Violation(f"{FIELD}.{name}", "is made by the template: leave it out", "template.alone")
            for name in ("subject", "text", "html")
            if getattr(message, name)
        ]
        if faults:
            raise broken_rules(faults)
        use = message.template
        preferences = self._preferences_of(call.reads, str(call.tenant_id))
        locales = stand_ins((use.locale, preferences.language))
        found = call.reads.run(PUBLISHED, tenant=call.tenant_id, key=use.key, locales=locales).first()
        if found is None:
            words = f"is that of no template which was published in {' or '.join(locales)}"
            raise broken_rules([Violation(f"{FIELD}.template.key", words, "template.known")])
        content = Content(subject=found["subject"], html=found["html"], text=found["text"])
        made = rendered(content, plain_struct(use.values), f"{FIELD}.template.values")
        message.subject, message.html, message.text = made.subject, made.html, made.text
        message.email_template_version_id = found["id"]
        message.ClearField("template")
