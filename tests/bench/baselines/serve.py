# uvicorn is installed for `make bench` only.
# mypy: disable-error-code="import-not-found"
"""Serves one of the FastAPI applications with one uvicorn worker on a free port, which it prints."""

import socket
import sys

import uvicorn


def main() -> None:
    """Serve until ended."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        # Who connects from now on waits in the backlog until the application has started.
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        config = uvicorn.Config(
            f"tests.bench.baselines.{sys.argv[1]}:app",
            loop="uvloop",
            http="httptools",
            ws="none",
            access_log=False,
            log_level="warning",
        )
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
