"""What runs: versions, the host, the settings in force, and the metrics."""

import os
import platform
from datetime import UTC, datetime

import psutil
from google.api.httpbody_pb2 import HttpBody
from plinth.operations.v1 import system_pb2
from plinth.operations.v1.system_pb2 import System
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import Text, text

from server.data.statements import Statement
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.module import HostFacts
from server.kernel.resources import Service

DATABASE = Statement(text("SELECT current_setting('server_version') AS version").columns(version=Text()))


class SystemService(Service):
    """What runs."""

    descriptor = system_pb2.DESCRIPTOR.services_by_name["SystemService"]

    def __init__(self, host: HostFacts, version: str, environment: str, clock: Clock = utc_now) -> None:
        super().__init__()
        self._host = host
        self._version = version
        self._environment = environment
        self._clock = clock

    def get_system(self, call: Call, request: system_pb2.GetSystemRequest) -> System:
        """Versions, the host and the settings."""
        del request
        system = System(
            version=self._version,
            environment=self._environment,
            python_version=platform.python_version(),
            database_version=call.reads.run(DATABASE).row(0)["version"],
            host=self._facts(),
            settings=[
                System.Setting(name=name, value=value, is_default=is_default)
                for name, value, is_default in self._host.settings()
            ],
        )
        system.start_time.FromDatetime(datetime.fromtimestamp(psutil.Process().create_time(), UTC))
        system.time.FromDatetime(self._clock())
        return system

    def get_metrics(self, call: Call, request: system_pb2.GetMetricsRequest) -> HttpBody:
        """The metrics of this host."""
        del request, call
        return HttpBody(content_type=CONTENT_TYPE_LATEST, data=self._host.metrics())

    def _facts(self) -> System.Host:
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._host.data_dir))
        return System.Host(
            cpu_count=len(os.sched_getaffinity(0)),
            load_averages=os.getloadavg(),
            memory_bytes=memory.total,
            available_memory_bytes=memory.available,
            disk_bytes=disk.total,
            free_disk_bytes=disk.free,
        )
