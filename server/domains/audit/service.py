"""AuditService: lists and exports of the log, its proofs, and the erasure of persons. The kernel writes the log."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import ClassVar

from google.api.httpbody_pb2 import HttpBody
from plinth.audit.v1 import audit_pb2
from plinth.audit.v1.audit_pb2 import AuditEntry, Erasure, ListAuditEntriesResponse

from server.data.statements import Row
from server.domains.audit import bundle
from server.domains.audit.activity import activity_asked
from server.domains.audit.entries import ALL_ENTRIES, ENTRIES, SECURITY_EVENTS, USER_ACTIVITIES, EntryPlan
from server.domains.audit.erasure import erase
from server.domains.audit.export import (
    CSV,
    JSONL,
    OF_TENANT,
    UNTIL,
    Format,
    Selection,
    chunks_of,
    csv_lines,
    format_of,
    json_lines,
)
from server.domains.audit.leaves import Run
from server.domains.audit.overview import Overview
from server.domains.audit.proofs import Proofs
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.ports import Memberships
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.queries import PageTokens
from server.kernel.read_models import Zones
from server.kernel.resources import Lister, ReadRows, Service
from server.kernel.transfers import Download, Downloads

ListRequest = (
    audit_pb2.ListAuditEntriesRequest
    | audit_pb2.ListAllAuditEntriesRequest
    | audit_pb2.ListSecurityEventsRequest
    | audit_pb2.ListUserActivitiesRequest
)
USER = "plinth.dev/User"
LINES = {CSV: csv_lines, JSONL: json_lines}


class AuditService(Service):
    """The audit log."""

    descriptor: ClassVar = audit_pb2.DESCRIPTOR.services_by_name["AuditService"]

    def __init__(
        self,
        tokens: PageTokens,
        proofs: Proofs,
        downloads: Downloads,
        memberships: Memberships,
        zones: Zones,
        *,
        kept: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        """`kept` is the retention time of the log."""
        super().__init__()
        self._memberships = memberships
        plan = EntryPlan()
        self._clock = clock
        self._downloads = downloads
        self._entries = ReadRows(self, ENTRIES, plan)
        self._own = Lister(self._entries, tokens)
        self._all = Lister(ReadRows(self, ALL_ENTRIES, plan, across_tenants=True), tokens)
        security = ReadRows(self, SECURITY_EVENTS, plan)
        self._security = Lister(security, tokens)
        self._activities = Lister(ReadRows(self, USER_ACTIVITIES, plan), tokens)
        self._exported = Selection(ENTRIES, OF_TENANT, UNTIL)
        self._all_exported = Selection(ALL_ENTRIES, UNTIL)
        self.get_checkpoint = proofs.get_checkpoint
        self.get_inclusion_proof = proofs.get_inclusion_proof
        self.get_consistency_proof = proofs.get_consistency_proof
        self.list_checkpoint_keys = proofs.list_checkpoint_keys
        overview = Overview(security, tokens, zones, clock, kept)
        self.get_security_overview = overview.get_security_overview
        self.list_security_overview_entries = overview.list_security_overview_entries

    # Lists ---------------------------------------------------------------------------------------------------------

    def list_audit_entries(
        self, call: Call, request: audit_pb2.ListAuditEntriesRequest
    ) -> audit_pb2.ListAuditEntriesResponse:
        """The entries of a tenant."""
        return _page(self._own, call, request)

    def list_all_audit_entries(
        self, call: Call, request: audit_pb2.ListAllAuditEntriesRequest
    ) -> audit_pb2.ListAuditEntriesResponse:
        """The entries of all tenants, and those that belong to no tenant."""
        return _page(self._all, call, request)

    def list_security_events(
        self, call: Call, request: audit_pb2.ListSecurityEventsRequest
    ) -> audit_pb2.ListAuditEntriesResponse:
        """Refusals, and changes of credentials, roles and access."""
        return _page(self._security, call, request)

    def list_user_activities(
        self, call: Call, request: audit_pb2.ListUserActivitiesRequest
    ) -> audit_pb2.ListAuditEntriesResponse:
        """The changes that users made."""
        return _page(self._activities, call, request)

    def list_user_activity(
        self, call: Call, request: audit_pb2.ListUserActivityRequest
    ) -> audit_pb2.ListAuditEntriesResponse:
        """The changes that one user made."""
        page = _page(self._activities, call, activity_asked(call, request))
        if not page.audit_entries and not self._is_member(call, request.user_id):
            raise not_found(USER, request.user_id)
        return page

    def _is_member(self, call: Call, user_id: str) -> bool:
        return self._memberships.of_user_in(call.reads, user_id, str(call.tenant_id)) is not None

    def get_audit_entry(self, call: Call, request: audit_pb2.GetAuditEntryRequest) -> AuditEntry:
        """One entry."""
        entry: AuditEntry = self._entries.get(call, request.entry_id)
        return entry

    # Exports -------------------------------------------------------------------------------------------------------

    def export_audit_entries(self, call: Call, request: audit_pb2.ExportAuditEntriesRequest) -> AsyncIterator[HttpBody]:
        """The entries of a tenant as a file."""
        form, tenant_id, until = format_of(call, request.format), str(call.tenant_id), self._clock()
        rows = self._exported.rows(request.filter, tenant=tenant_id, until=until)
        name = f"audit-{tenant_id}"
        if not request.proofs:
            return self._downloads.send(call, _file(name, form, rows))
        if form is not JSONL:
            raise broken_rules([Violation("proofs", "come as JSON Lines only", "proofs.format")])
        if request.filter.strip():
            return self._downloads.send(call, _download(name, form, lambda run: bundle.filtered(run, tenant_id, rows)))
        return self._downloads.send(call, _download(name, form, lambda run: bundle.complete(run, tenant_id, until)))

    def export_all_audit_entries(
        self, call: Call, request: audit_pb2.ExportAllAuditEntriesRequest
    ) -> AsyncIterator[HttpBody]:
        """The entries of all tenants, and those that belong to no tenant, as a file."""
        rows = self._all_exported.rows(request.filter, until=self._clock())
        return self._downloads.send(call, _file("audit", format_of(call, request.format), rows))

    # Erasure -------------------------------------------------------------------------------------------------------

    def erase_personal_data(self, call: Call, request: audit_pb2.ErasePersonalDataRequest) -> Erasure:
        """Erase the personal data of a person."""
        # Equality of UUIDs ignores case; `resource_id` holds the canonical form.
        person_id = request.person_id.lower()
        return Erasure(id=person_id, erased_entries=erase(call, person_id))


def _page(lister: Lister[AuditEntry], call: Call, request: ListRequest) -> ListAuditEntriesResponse:
    entries, token, total = lister.page(call, request)
    return ListAuditEntriesResponse(audit_entries=entries, next_page_token=token, total_size=total)


def _file(name: str, form: Format, rows: Callable[[Run], Iterator[Row]]) -> Download:
    return _download(name, form, lambda run: LINES[form](rows(run)))


def _download(name: str, form: Format, lines: Callable[[Run], Iterator[bytes]]) -> Download:
    return Download(f"{name}.{form.suffix}", form.media_type, lambda run: chunks_of(lines(run)))
