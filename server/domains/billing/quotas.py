"""What the plan of a tenant allows: that of its subscription, or else the default plan."""

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from server.data.statements import Statement

QUOTAS = Statement(
    text("SELECT plinth_quotas(CAST(:tenant AS uuid)) AS quotas")
    .bindparams(bindparam("tenant", type_=UUID(as_uuid=False)))
    .columns(quotas=JSONB())
)
"""The quotas of the tenant `tenant`, each with `name` and `most`; NULL without a plan."""
