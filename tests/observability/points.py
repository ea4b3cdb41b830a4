"""A domain that the product does not have yet: points of metrics, which its callers record as telemetry.

tests/composing.py has the plinth command with this domain among the others.
"""

from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import Column, Double, MetaData, Table, Text, bindparam, insert
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.tables import time_column
from server.extensions import POLICY
from server.kernel.call import Call
from server.kernel.clock import utc_now
from server.kernel.module import Module
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Service
from tests import composing

PACKAGE = "plinth.observability.v1"
METHOD = f"/{PACKAGE}.PointService/RecordPoints"
PERMISSION = "observability.points.record"
LONGEST_NAME = 100
Field = descriptor_pb2.FieldDescriptorProto


def contract() -> descriptor_pb2.FileDescriptorProto:
    """The contract: `RecordPoints(points)` answers nothing."""
    file = descriptor_pb2.FileDescriptorProto(
        name="plinth/observability/v1/point.proto", package=PACKAGE, syntax="proto3"
    )
    file.dependency.extend(
        ("google/api/annotations.proto", "google/protobuf/empty.proto", "plinth/policy/v1/policy.proto")
    )
    point = file.message_type.add(name="Point")
    point.field.add(name="name", number=1, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
    point.field.add(name="value", number=2, label=Field.LABEL_OPTIONAL, type=Field.TYPE_DOUBLE)
    request = file.message_type.add(name="RecordPointsRequest")
    request.field.add(
        name="points", number=1, label=Field.LABEL_REPEATED, type=Field.TYPE_MESSAGE, type_name=f".{PACKAGE}.Point"
    )
    method = file.service.add(name="PointService").method.add(
        name="RecordPoints", input_type=f".{PACKAGE}.RecordPointsRequest", output_type=".google.protobuf.Empty"
    )
    http = method.options.Extensions[annotations_pb2.http]
    http.post, http.body = "/api/v1/observability/points:record", "*"
    policy: Any = method.options.Extensions[POLICY]
    policy.permission, policy.telemetry = PERMISSION, True
    return file


_pool: Any = descriptor_pool.Default()
_pool.AddSerializedFile(contract().SerializeToString())
Point: Any = GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.Point"))
RecordPointsRequest: Any = GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.RecordPointsRequest"))

# The product has no such table, so a test makes it (TABLE), in partitions by month as telemetry is kept.
points = Table(
    "points",
    MetaData(),
    Column("tenant_id", UUID(as_uuid=False)),
    time_column("create_time"),
    Column("name", Text),
    Column("value", Double),
)
TABLE = (
    """CREATE TABLE points (
           tenant_id uuid NOT NULL, create_time timestamptz NOT NULL,
           name text NOT NULL, value double precision NOT NULL
       ) PARTITION BY RANGE (create_time)""",
    "CREATE INDEX points_name_idx ON points (tenant_id, name, create_time)",
    "ALTER TABLE points ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE points FORCE ROW LEVEL SECURITY",
    "CREATE POLICY points_wall ON points USING (tenant_id = current_setting('plinth.tenant_id', true)::uuid)",
    "GRANT SELECT, INSERT ON points TO plinth_runtime",
    *(
        f"SELECT plinth_make_partition('points', (date_trunc('month', now() AT TIME ZONE 'UTC')"
        f" + interval '{months} month')::date)"
        for months in (0, 1)
    ),
)
RECORD = Statement(
    insert(points).values(
        tenant_id=bindparam("tenant_id", type_=UUID(as_uuid=False)),
        create_time=bindparam("create_time", type_=points.c.create_time.type),
        name=bindparam("name", type_=Text()),
        value=bindparam("value", type_=Double()),
    )
)


class PointService(Service):
    """Records points."""

    descriptor = _pool.FindServiceByName(f"{PACKAGE}.PointService")

    def record_points(self, call: Call, request: Any) -> Empty:
        """Record some, all of them or none."""
        now = utc_now()
        for place, point in enumerate(request.points):
            if len(point.name) > LONGEST_NAME:
                raise broken_rules([Violation(f"points[{place}].name", "is too long", "string.max_len")])
            call.writes.queue(RECORD, tenant_id=call.tenant_id, create_time=now, name=point.name, value=point.value)
        return Empty()


MODULE = Module("observability", services=(PointService,), roles={"member": (PERMISSION,)})


def compose() -> None:
    """Name this domain among those of the product, before anything asks for them."""
    composing.add(MODULE)
