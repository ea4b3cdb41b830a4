"""A worker that tells how many calls wait for its threads.

Run as `python -m tests.guard.crowded_worker SETTINGS` beside a running stack. It listens on the socket `crowded`, says
`ready`, and from then on answers each line with that number.
"""

import sys

from server import app
from tests.guard.workers import given_settings, say, serve

NAME = "crowded"


def main() -> None:
    """Serve until nobody asks any more."""
    application = app.build(given_settings(), NAME, streams=False)
    server = serve(application, NAME)
    say("ready")
    for _ in sys.stdin:
        say(str(application.guard.threads.waiting))
    server.stop(None)
    application.close()


if __name__ == "__main__":
    main()
