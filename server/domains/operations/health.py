"""Health, for people and dashboards. Probes use grpc.health.v1."""

from dataclasses import replace

import psutil
from plinth.operations.v1 import health_pb2
from plinth.operations.v1.health_pb2 import ComponentHealth, Health

from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.dependencies import Dependencies, Finding
from server.kernel.resources import Service

UNAVAILABLE = 503


class HealthService(Service):
    """Health."""

    descriptor = health_pb2.DESCRIPTOR.services_by_name["HealthService"]

    def __init__(self, dependencies: Dependencies, version: str, clock: Clock = utc_now) -> None:
        super().__init__()
        self._dependencies = dependencies
        self._version = version
        self._clock = clock
        self._started = clock()

    def get_health(self, call: Call, request: health_pb2.GetHealthRequest) -> Health:
        """The state of this worker, from the newest findings."""
        del request
        findings = self._dependencies.findings
        now = self._clock()
        health = Health(status=_overall(findings), checks=map(_check, findings), version=self._version)
        health.memory.resident_bytes = psutil.Process().memory_info().rss
        health.memory.available_bytes = psutil.virtual_memory().available
        health.uptime.FromTimedelta(now - self._started)
        health.time.FromDatetime(now)
        if health.status == Health.STATUS_NOT_SERVING:
            call.http_status = UNAVAILABLE
        return health

    def get_database_health(self, call: Call, request: health_pb2.GetDatabaseHealthRequest) -> ComponentHealth:
        """The state of PostgreSQL."""
        del request
        return self._component(call, needed=("database",), wanted=("database writes", "transactions"))

    def get_redis_health(self, call: Call, request: health_pb2.GetRedisHealthRequest) -> ComponentHealth:
        """The state of Redis."""
        del request
        return self._component(call, needed=("redis",))

    def get_services_health(self, call: Call, request: health_pb2.GetServicesHealthRequest) -> ComponentHealth:
        """The state of what Plinth runs itself."""
        del request
        return self._component(call, wanted=("jobs", "streams", "background", "clock"))

    def get_streams_health(self, call: Call, request: health_pb2.GetStreamsHealthRequest) -> ComponentHealth:
        """The state of the live streams."""
        del request
        return self._component(call, needed=("streams",))

    def _component(self, call: Call, needed: tuple[str, ...] = (), wanted: tuple[str, ...] = ()) -> ComponentHealth:
        """The state of a component, which does not serve without what is `needed`, and not well without the rest."""
        named = {finding.name: finding for finding in self._dependencies.findings}
        # All are there from the first round on. A name that no dependency has must not pass for health.
        found = [named[name] for name in (*needed, *wanted)]
        health = ComponentHealth(status=_overall(tuple(replace(each, vital=each.name in needed) for each in found)))
        health.checks.extend(map(_check, found))
        health.time.FromDatetime(self._clock())
        if health.status == Health.STATUS_NOT_SERVING:
            call.http_status = UNAVAILABLE
        return health


def _overall(findings: tuple[Finding, ...]) -> Health.Status:
    if any(finding.vital and not finding.is_there for finding in findings):
        return Health.STATUS_NOT_SERVING
    if any(not finding.is_there for finding in findings):
        return Health.STATUS_DEGRADED
    return Health.STATUS_SERVING


def _check(finding: Finding) -> Health.Check:
    status = Health.STATUS_SERVING if finding.is_there else Health.STATUS_NOT_SERVING
    check = Health.Check(name=finding.name, status=status, message=finding.message)
    check.latency.FromTimedelta(finding.latency)
    check.check_time.FromDatetime(finding.check_time)
    return check
