"""The worker of tests/guard/crowded_worker.py with one domain more: that of points."""

from tests.observability.points import compose

if __name__ == "__main__":
    compose()
    # What it imports finds the domain among the others.
    from tests.guard import crowded_worker

    crowded_worker.main()
