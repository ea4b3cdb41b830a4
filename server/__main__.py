"""The `plinth` command. What calls a Plinth needs neither the server nor its settings, so it is asked for first."""

import sys

from plinth.client.command import main as client


def main() -> int:
    """Run a command. Returns its exit status."""
    if sys.argv[1:2] and sys.argv[1] in client.NAMES:
        if sys.argv[1] == "completion":
            from server.commands import parser  # noqa: PLC0415 - of all commands, which takes half a second to import

            return client.main(whole=parser)
        return client.main()
    from server import commands  # noqa: PLC0415

    return commands.main()


if __name__ == "__main__":
    sys.exit(main())
