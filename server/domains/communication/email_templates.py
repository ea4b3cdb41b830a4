"""Templates of the mail of a tenant, and their versions."""

from plinth.communication.v1 import email_template_pb2, email_template_version_pb2
from plinth.communication.v1.email_template_pb2 import EmailTemplate, PreviewEmailTemplateResponse
from plinth.communication.v1.email_template_version_pb2 import EmailTemplateVersion
from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.domains.communication.rendering import Content, content_of, rendered
from server.domains.communication.tables import email_template_versions, email_templates
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.ids import new_id
from server.kernel.locales import usual_form
from server.kernel.messages import plain_struct
from server.kernel.problems import StateForbids
from server.kernel.queries import OrderTerm
from server.kernel.resources import Parent, ReadRows, Resource, Service

MOST = 500
MOST_VERSIONS = 1_000
_id = UUID(as_uuid=False)
_v = email_template_versions.c
TEMPLATE = Resource(
    EmailTemplate,
    email_templates,
    filterable=("id", "key", "locale", "display_name", "version_number", "create_time", "update_time"),
    sortable=("create_time", "key"),
    unique={"email_templates_key_key": "key"},
    most=MOST,
)
VERSION = Resource(
    EmailTemplateVersion,
    email_template_versions,
    filterable=("id", "number", "create_time", "update_time"),
    sortable=("number",),
    default_order=(OrderTerm("number", descending=True),),
    parent=Parent("email_template_id", TEMPLATE),
)
NEWEST = Statement(
    select(_v.subject, _v.mjml, _v.text).where(
        _v.tenant_id == bindparam("tenant", type_=_id),
        _v.email_template_id == bindparam("template", type_=_id),
        _v.number == bindparam("number", type_=_v.number.type),
    )
)
"""Takes `tenant`, `template` and `number`. What a version says."""
_NEW = ("tenant_id", "id", "email_template_id", "number", "subject", "mjml", "html", "text", "variables")
PUBLISH = Statement(
    insert(email_template_versions).values({name: bindparam(name, type_=_v[name].type) for name in _NEW})
)


class EmailTemplateService(Service[EmailTemplate]):
    """Templates of a tenant's mail."""

    descriptor = email_template_pb2.DESCRIPTOR.services_by_name["EmailTemplateService"]
    resource = TEMPLATE

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._versions = ReadRows(self, VERSION)
        self._clock = clock

    # Hooks ---------------------------------------------------------------------------------------------------------

    def prepare(self, call: Call, resource: EmailTemplate, before: EmailTemplate | None) -> None:
        """Write the locale in its usual form."""
        del call, before
        resource.locale = usual_form(resource.locale)

    def check(self, call: Call, resource: EmailTemplate, before: EmailTemplate | None) -> None:
        """Refuse what is none of the language. What the draft names becomes `variables`."""
        del call
        if before is None or _said(resource) != _said(before):
            _, resource.variables[:] = _content(resource)

    # Custom methods ------------------------------------------------------------------------------------------------

    def publish_email_template(
        self, call: Call, request: email_template_pb2.PublishEmailTemplateRequest
    ) -> EmailTemplate:
        """Make a version of the draft."""
        before = self.rows.lock(call, request.email_template_id, etag=request.etag)
        number = before.version_number
        newest = call.reads.run(NEWEST, tenant=call.tenant_id, template=before.id, number=number).first()
        if newest == _said(before):
            raise self._forbidden(before, "published", "The draft has not changed since it was published.")
        if before.version_number >= MOST_VERSIONS:
            raise self._forbidden(before, "full", f"The template has {MOST_VERSIONS:,} versions: create another one.")
        content, variables = _content(before)
        after = self.rows.copy_of(before)
        after.version_number += 1
        after.publish_time.FromDatetime(self._clock())
        call.writes.queue(
            PUBLISH,
            tenant_id=before.tenant_id,
            id=new_id(),
            email_template_id=before.id,
            number=after.version_number,
            subject=content.subject,
            mjml=before.mjml,
            html=content.html,
            text=content.text,
            variables=variables,
        )
        return self.rows.update(call, after, before)

    def restore_email_template_version(
        self, call: Call, request: email_template_pb2.RestoreEmailTemplateVersionRequest
    ) -> EmailTemplate:
        """Make the draft what a version is."""
        version = self._versions.get(call, request.email_template_version_id, request)
        before = self.rows.lock(call, request.email_template_id, etag=request.etag)
        after = self.rows.copy_of(before)
        after.subject, after.mjml, after.text = version.subject, version.mjml, version.text
        return self.rows.update(call, after, before)

    def preview_email_template(
        self, call: Call, request: email_template_pb2.PreviewEmailTemplateRequest
    ) -> PreviewEmailTemplateResponse:
        """Show the mail that values make."""
        if request.email_template_version_id:
            version = self._versions.get(call, request.email_template_version_id, request)
            content = Content(subject=version.subject, html=version.html, text=version.text)
        else:
            content, _ = _content(self.rows.get(call, request.email_template_id))
        shown = rendered(content, plain_struct(request.values), "values")
        return PreviewEmailTemplateResponse(subject=shown.subject, html=shown.html, text=shown.text)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _forbidden(self, template: EmailTemplate, state: str, words: str) -> StateForbids:
        metadata = {"resource_type": self.rows.type, "resource": template.id, "state": state}
        return StateForbids(words, metadata=metadata)


class EmailTemplateVersionService(Service[EmailTemplateVersion]):
    """Versions of templates. The kernel reads them; PublishEmailTemplate makes them."""

    descriptor = email_template_version_pb2.DESCRIPTOR.services_by_name["EmailTemplateVersionService"]
    resource = VERSION


def _said(template: EmailTemplate) -> Row:
    """What a draft says, as NEWEST tells it of a version."""
    return {"subject": template.subject, "mjml": template.mjml, "text": template.text}


def _content(template: EmailTemplate) -> tuple[Content, list[str]]:
    return content_of("email_template", subject=template.subject, mjml=template.mjml, text=template.text)
