"""Types of sections: what the content of each kind looks like."""

from collections.abc import Mapping

from plinth.sites.v1 import section_type_pb2
from plinth.sites.v1.section_pb2 import Section
from plinth.sites.v1.section_type_pb2 import BuiltInSectionType, ListBuiltInSectionTypesResponse, SectionType
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.sites.built_in_sections import BUILT_IN, SCHEMAS
from server.domains.sites.content_schemas import ContentSchema, schema_faults
from server.domains.sites.tables import section_types
from server.kernel.caching import Generations, TenantMemory
from server.kernel.call import Call
from server.kernel.messages import fill_struct, plain_struct
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Resource, Service

MOST = 200
REMEMBERED = 100
"""Tenants whose types a process remembers. Those of one take mostly some 100 KB."""
_t = section_types.c
_tenant = bindparam("tenant", type_=UUID(as_uuid=False))
TYPES = Statement(select(_t.kind, _t.schema).where(_t.tenant_id == _tenant))
"""Takes `tenant`."""
Schemas = Mapping[str, ContentSchema | None]
"""By kind; None for one whose content may be anything."""


class SectionTypeService(Service[SectionType]):
    """Types of the sections of a tenant's site."""

    descriptor = section_type_pb2.DESCRIPTOR.services_by_name["SectionTypeService"]
    resource = Resource(
        SectionType,
        section_types,
        filterable=("id", "kind", "display_name", "create_time", "update_time"),
        sortable=("create_time", "kind"),
        unique={"section_types_kind_key": "kind"},
        most=MOST,
    )

    def check(self, call: Call, resource: SectionType, before: SectionType | None) -> None:
        """Refuse a schema that is not of the part of JSON Schema."""
        del call, before
        if not resource.HasField("schema"):
            return
        faults = schema_faults(plain_struct(resource.schema))
        if faults:
            raise broken_rules([fault.within("section_type.schema") for fault in faults])

    def list_built_in_section_types(
        self, call: Call, request: section_type_pb2.ListBuiltInSectionTypesRequest
    ) -> ListBuiltInSectionTypesResponse:
        """The types that every site has."""
        del call, request
        answer = ListBuiltInSectionTypesResponse()
        for each in BUILT_IN.values():
            shown = BuiltInSectionType(kind=each.kind, display_name=each.display_name, description=each.description)
            fill_struct(shown.schema, each.schema)
            answer.section_types.append(shown)
        return answer


class SectionContents:
    """Cleans the content of sections, and holds it against the schemas of their kinds."""

    def __init__(self, database: Database, generations: Generations) -> None:
        self._database = database
        self._types = TenantMemory(generations, "tenant:{tenant_id}:section_types", self._read, most=REMEMBERED)

    def clean(self, tenant_id: str, section: Section) -> None:
        """Clean the rich text of a section. Nothing happens to one of an unknown kind."""
        schema = self._schema(tenant_id, section.kind)
        if schema is None or not section.HasField("content"):
            return
        content = plain_struct(section.content)
        cleaned = schema.cleaned(content)
        if cleaned != content:
            section.content.Clear()
            fill_struct(section.content, cleaned)

    def violations(self, tenant_id: str, section: Section) -> list[Violation]:
        """What is wrong with a section: its kind is unknown, or its content breaks the schema."""
        own = self._types.of(tenant_id)
        if section.kind not in own and section.kind not in SCHEMAS:
            return [Violation("section.kind", "is no type of section: create one, or use another", "section.kind")]
        schema = self._schema(tenant_id, section.kind)
        if schema is None or not section.HasField("content"):
            return []
        return [fault.within("section.content") for fault in schema.faults(plain_struct(section.content))]

    def _schema(self, tenant_id: str, kind: str) -> ContentSchema | None:
        own = self._types.of(tenant_id)
        return own[kind] if kind in own else SCHEMAS.get(kind)

    def _read(self, tenant_id: str) -> Schemas:
        with self._database.read(Scope(tenant_id=tenant_id)) as transaction:
            rows = transaction.run(TYPES, tenant=tenant_id).all()
        return {row["kind"]: None if row["schema"] is None else ContentSchema(row["schema"]) for row in rows}
