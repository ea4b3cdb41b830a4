"""`python -m tests.telemetry.member FOLDER PORT NAME`: a process that measures and takes part in the endpoint.

It counts 1 when it has begun, says what it is called, and lives until its input ends.
"""

import sys
from pathlib import Path

from server.metrics import files as metrics_files
from server.settings import Settings


def main(folder: str, port: str, name: str) -> None:
    """Join, count, and wait."""
    settings = Settings(data_dir=Path(folder), metrics_port=int(port))
    metrics_files.share(settings.metrics_dir)
    # As in a deployment: what measures is imported afterwards.
    from prometheus_client import Counter, Gauge  # noqa: PLC0415

    from server.metrics import endpoint as metrics_endpoint  # noqa: PLC0415

    starts = Counter("plinth_test_starts", "Starts.", ["name"])
    alive = Gauge("plinth_test_alive", "Whether it lives.", ["process"], multiprocess_mode="livemostrecent")
    endpoint = metrics_endpoint.begin(settings, name, first=True)
    starts.labels(name).inc()
    alive.labels(endpoint.process).set(1)
    sys.stdout.write(f"{endpoint.process}\n")
    sys.stdout.flush()
    sys.stdin.read()
    endpoint.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
