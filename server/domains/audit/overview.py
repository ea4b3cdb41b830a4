"""The security events of a tenant in figures, and the entries behind them."""

from datetime import timedelta

from plinth.audit.v1 import audit_pb2
from plinth.audit.v1.audit_pb2 import AuditEntry
from sqlalchemy import literal_column

from server.data.audit import audit_entries
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.queries import PageTokens
from server.kernel.read_models import Count, Distinct, Figures, Members, Series, Sum, Zones
from server.kernel.record import OK
from server.kernel.resources import ReadRows

_columns = audit_entries.c
_is_ok = _columns.outcome == literal_column(f"'{OK}'")
SECURITY = Series(
    name="security",
    table=audit_entries,
    time="create_time",
    where=_columns.security,
    measures=(
        Sum(name="events", of=_columns["count"]),
        Sum(name="refusals", of=_columns["count"], where=~_is_ok),
        Count(name="changes", where=_is_ok),
        Distinct(name="actors", of=_columns.actor_id),
    ),
)


class Overview:
    """Answers the RPCs of the overview."""

    def __init__(
        self, rows: ReadRows[AuditEntry], tokens: PageTokens, zones: Zones, clock: Clock, kept: timedelta
    ) -> None:
        """`rows` reads security events, which are kept for `kept`."""
        self._figures = Figures(series=SECURITY, clock=clock, kept=kept, zones=zones)
        self._members = Members(self._figures, rows, tokens)

    def get_security_overview(
        self, call: Call, request: audit_pb2.GetSecurityOverviewRequest
    ) -> audit_pb2.SecurityOverview:
        """The figures of a range."""
        bucket = request.bucket if request.include_series else None
        reading = self._figures.read(call, request.range, bucket=bucket, compare=request.compare)
        return audit_pb2.SecurityOverview(metrics=reading.metrics, series=reading.series)

    def list_security_overview_entries(
        self, call: Call, request: audit_pb2.ListSecurityOverviewEntriesRequest
    ) -> audit_pb2.ListAuditEntriesResponse:
        """The entries behind a figure."""
        entries, token = self._members.page(call, request.range, request.metric, request)
        return audit_pb2.ListAuditEntriesResponse(audit_entries=entries, next_page_token=token)
