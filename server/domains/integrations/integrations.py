"""Integrations of a tenant: accounts with services of others."""

from collections.abc import Iterator, Sequence

from plinth.integrations.v1 import integration_pb2
from plinth.integrations.v1.integration_pb2 import (
    Integration,
    IntegrationCredential,
    IntegrationOption,
    IntegrationTemplate,
    IntegrationTemplateField,
    ListIntegrationTemplatesResponse,
)
from sqlalchemy import bindparam, func, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.domains.integrations.credentials import CredentialBox
from server.domains.integrations.tables import integrations
from server.domains.integrations.templates import TEMPLATES, Field, Template
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import StateForbids, Violation, broken_rules
from server.kernel.resources import Resource, Service

MOST = 100
UNTESTED = Integration.STATUS_UNTESTED
Named = IntegrationOption | IntegrationCredential
_c = integrations.c
IS_OWN = (
    _c.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
    _c.id == bindparam("integration", type_=UUID(as_uuid=False)),
)
INTEGRATION = Resource(
    Integration,
    integrations,
    filterable=("id", "template", "name", "enabled", "status", "create_time", "update_time"),
    sortable=("create_time", "name"),
    hidden=("sealed_credentials",),
    computed=("credentials",),
    unique={"integrations_name_key": "name"},
    most=MOST,
)


class IntegrationService(Service[Integration]):
    """Integrations of a tenant."""

    descriptor = integration_pb2.DESCRIPTOR.services_by_name["IntegrationService"]
    resource = INTEGRATION

    def __init__(self, box: CredentialBox, clock: Clock) -> None:
        super().__init__()
        self._box = box
        self._clock = clock
        changed = {"version": _c.version + text("1"), "update_time": func.now()}
        forgotten = {
            name: bindparam(f"new_{name}", type_=_c[name].type) for name in ("status", "account", "last_error")
        }
        self._replace = Statement(
            update(integrations)
            .where(*IS_OWN)
            .values(
                sealed_credentials=bindparam("sealed", type_=_c.sealed_credentials.type),
                credential_names=bindparam("names", type_=_c.credential_names.type),
                credentials_time=func.now(),
                **forgotten,
                **changed,
            )
            .returning(*self.rows.plan.columns)
        )

    # Hooks ---------------------------------------------------------------------------------------------------------

    def prepare(self, call: Call, resource: Integration, before: Integration | None) -> None:
        """Fill in unset fields. What was tested with other options is untested."""
        del call
        if not resource.HasField("enabled"):
            resource.enabled = True
        if before is None:
            names = sorted(credential.name for credential in resource.credentials)
            resource.credential_names[:] = names
            resource.credentials_time.FromDatetime(self._clock())
        if before is None or resource.options != before.options:
            resource.status = UNTESTED
            resource.account = resource.last_error = ""

    def check(self, call: Call, resource: Integration, before: Integration | None) -> None:
        """Hold options and credentials against the template."""
        del call
        if before is not None and resource.template != before.template:
            # It is refused, since it cannot change.
            return
        template = TEMPLATES.get(resource.template)
        if template is None:
            words = f"is none of {', '.join(TEMPLATES)}"
            raise broken_rules([Violation("integration.template", words, "template.known")])
        faults = list(_faults("integration.options", "option", template.options, resource.options))
        if before is None:
            faults += _faults("integration.credentials", "credential", template.credentials, resource.credentials)
        if faults:
            raise broken_rules(faults)

    def before_write(self, call: Call, values: Row, before: Integration | None) -> None:
        """Seal the credentials of a new integration."""
        if before is None:
            values["sealed_credentials"] = self._box.seal(call.request.integration.credentials, str(values["id"]))

    # Custom methods ------------------------------------------------------------------------------------------------

    def replace_integration_credentials(
        self, call: Call, request: integration_pb2.ReplaceIntegrationCredentialsRequest
    ) -> Integration:
        """Replace all credentials."""
        before = self.rows.lock(call, request.integration_id, etag=request.etag)
        faults = list(_faults("credentials", "credential", template_of(before).credentials, request.credentials))
        if faults:
            raise broken_rules(faults)
        result = call.writes.run(
            self._replace,
            tenant=call.tenant_id,
            integration=before.id,
            sealed=self._box.seal(request.credentials, before.id),
            names=sorted(credential.name for credential in request.credentials),
            new_status=UNTESTED,
            new_account="",
            new_last_error="",
        )
        after = self.rows.plan.message(result.raw(0))
        call.note_change(before, after)
        return after

    def list_integration_templates(
        self, call: Call, request: integration_pb2.ListIntegrationTemplatesRequest
    ) -> ListIntegrationTemplatesResponse:
        """The templates."""
        del call, request
        return ListIntegrationTemplatesResponse(integration_templates=map(_shown, TEMPLATES.values()))


def template_of(integration: Integration) -> Template:
    """The template of a stored integration. Raises StateForbids where this version has it no more."""
    template = TEMPLATES.get(integration.template)
    if template is None:
        raise StateForbids(f"There is no template `{integration.template}` any more.")
    return template


def _faults(path: str, what: str, fields: Sequence[Field], given: Sequence[Named]) -> Iterator[Violation]:
    """What is wrong with options or credentials. No fault shows a value."""
    known = {field.name: field for field in fields}
    seen: set[str] = set()
    for place, each in enumerate(given):
        field = known.get(each.name)
        if field is None:
            names = ", ".join(known) or "none"
            yield Violation(
                f"{path}[{place}].name", f"is none of those that the template takes: {names}", f"{what}.known"
            )
        elif each.name in seen:
            yield Violation(f"{path}[{place}].name", "is there already", f"{what}.unique")
        elif not field.fits(each.value):
            form = f"`{field.pattern}`" if field.pattern else "one line"
            yield Violation(f"{path}[{place}].value", f"is not of the form {form}", f"{what}.form")
        seen.add(each.name)
    for field in fields:
        if field.required and field.name not in seen:
            yield Violation(path, f"lack `{field.name}`", f"{what}.missing")


def _shown(template: Template) -> IntegrationTemplate:
    return IntegrationTemplate(
        key=template.key,
        display_name=template.display_name,
        description=template.description,
        documentation_url=template.documentation_url,
        options=map(_field, template.options),
        credentials=map(_field, template.credentials),
    )


def _field(field: Field) -> IntegrationTemplateField:
    return IntegrationTemplateField(
        name=field.name,
        description=field.description,
        required=field.required,
        pattern=field.pattern,
        example=field.example,
    )
