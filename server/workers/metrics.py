"""Metrics of jobs. Labels are the names of jobs and queues, never a tenant."""

from prometheus_client import Counter, Gauge, Histogram

# Seconds.
JOBS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    """A gauge of the database's content: the last value that any worker saw. It disappears with the last worker."""
    return Gauge(name, text, labels, multiprocess_mode="livemostrecent")


JOB_SECONDS = Histogram("plinth_job_seconds", "How long attempts to do a job took.", ["task"], buckets=JOBS)
JOB_FAILURES = Counter("plinth_job_failures", "Jobs that failed for good.", ["task"])
JOB_RETRIES = Counter("plinth_job_retries", "Attempts that failed and are made again.", ["task"])
JOBS_RESCUED = Counter("plinth_jobs_rescued", "Jobs put back because the worker that did them was lost.")

QUEUE_JOBS = _gauge("plinth_job_queue_jobs", "Jobs in a queue: todo, doing, failed (for good).", "queue", "status")
QUEUE_OLDEST = _gauge("plinth_job_queue_oldest_seconds", "How long the oldest job that is due has waited.", "queue")
QUEUE_UNATTENDED = _gauge("plinth_job_queue_unattended", "Whether jobs are due that nobody takes.", "queue")
PARTITIONS_AHEAD = _gauge("plinth_partitions_ahead", "Months after this one that have a partition.", "table")
