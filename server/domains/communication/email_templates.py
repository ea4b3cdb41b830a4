"""Templates of the mail of a tenant, and their versions."""

import re

from plinth.communication.v1 import email_template_pb2, email_template_version_pb2
from plinth.communication.v1.email_template_pb2 import EmailTemplate, PreviewEmailTemplateResponse
from plinth.communication.v1.email_template_version_pb2 import EmailTemplateVersion
from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.domains.communication.locales import is_locale, usual_form
from server.domains.communication.rendering import Content, content_of, rendered
from server.domains.communication.tables import email_template_versions, email_templates
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.ids import new_id
from server.kernel.messages import plain_struct
from server.kernel.problems import StateForbids, Violation, broken_rules, not_found
from server.kernel.queries import OrderTerm
from server.kernel.resources import Parent, Resource, Service

MOST = 500
MOST_VERSIONS = 1_000
KEY = re.compile(r"[a-z][a-z0-9_.-]*")
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
_versions = select(_v.subject, _v.mjml, _v.html, _v.text).where(
    _v.tenant_id == bindparam("tenant", type_=_id), _v.email_template_id == bindparam("template", type_=_id)
)
VERSION = Statement(_versions.where(_v.id == bindparam("version", type_=_id)))
NUMBERED = Statement(_versions.where(_v.number == bindparam("number", type_=_v.number.type)))
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
        self._clock = clock

    # Hooks ---------------------------------------------------------------------------------------------------------

    def prepare(self, call: Call, resource: EmailTemplate, before: EmailTemplate | None) -> None:
        """Write the locale in its usual form."""
        del call, before
        if is_locale(resource.locale):
            resource.locale = usual_form(resource.locale)

    def check(self, call: Call, resource: EmailTemplate, before: EmailTemplate | None) -> None:
        """Refuse what is none of the language. What the draft names becomes `variables`."""
        del call
        if before is None:
            faults = []
            if not KEY.fullmatch(resource.key):
                words = "has other signs than a to z, 0 to 9, `_`, `-` and `.`, or does not begin with a letter"
                faults.append(Violation("email_template.key", words, "template.key"))
            if not is_locale(resource.locale):
                faults.append(
                    Violation("email_template.locale", "is no language of BCP 47, such as `de-AT`", "locale.known")
                )
            if faults:
                raise broken_rules(faults)
        _, resource.variables[:] = _content(resource)

    # Custom methods ------------------------------------------------------------------------------------------------

    def publish_email_template(
        self, call: Call, request: email_template_pb2.PublishEmailTemplateRequest
    ) -> EmailTemplate:
        """Make a version of the draft."""
        before = self.rows.lock(call, request.email_template_id, etag=request.etag)
        newest = call.reads.run(
            NUMBERED, tenant=call.tenant_id, template=before.id, number=before.version_number
        ).first()
        draft = (before.subject, before.mjml, before.text)
        if newest is not None and (newest["subject"], newest["mjml"], newest["text"]) == draft:
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
        version = self._version(call, request.email_template_id, request.email_template_version_id)
        before = self.rows.lock(call, request.email_template_id, etag=request.etag)
        after = self.rows.copy_of(before)
        after.subject, after.mjml, after.text = version["subject"], version["mjml"], version["text"]
        return self.rows.update(call, after, before)

    def preview_email_template(
        self, call: Call, request: email_template_pb2.PreviewEmailTemplateRequest
    ) -> PreviewEmailTemplateResponse:
        """Show the mail that values make."""
        template = self.rows.get(call, request.email_template_id)
        if request.email_template_version_id:
            version = self._version(call, template.id, request.email_template_version_id)
            content = Content(subject=version["subject"], html=version["html"], text=version["text"])
        else:
            content, _ = _content(template)
        shown = rendered(content, plain_struct(request.values), "values")
        return PreviewEmailTemplateResponse(subject=shown.subject, html=shown.html, text=shown.text)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _version(self, call: Call, template_id: str, version_id: str) -> Row:
        found = call.reads.run(VERSION, tenant=call.tenant_id, template=template_id, version=version_id).first()
        if found is None:
            raise not_found("plinth.dev/EmailTemplateVersion", version_id)
        return found

    def _forbidden(self, template: EmailTemplate, state: str, words: str) -> StateForbids:
        metadata = {"resource_type": self.rows.type, "resource": template.id, "state": state}
        return StateForbids(words, metadata=metadata)


class EmailTemplateVersionService(Service[EmailTemplateVersion]):
    """Versions of templates. The kernel reads them; PublishEmailTemplate makes them."""

    descriptor = email_template_version_pb2.DESCRIPTOR.services_by_name["EmailTemplateVersionService"]
    resource = Resource(
        EmailTemplateVersion,
        email_template_versions,
        filterable=("id", "number", "create_time", "update_time"),
        sortable=("number",),
        default_order=(OrderTerm("number", descending=True),),
        parent=Parent("email_template_id", TEMPLATE),
    )


def _content(template: EmailTemplate) -> tuple[Content, list[str]]:
    return content_of("email_template", subject=template.subject, mjml=template.mjml, text=template.text)
