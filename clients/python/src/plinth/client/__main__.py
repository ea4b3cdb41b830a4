"""`python -m plinth.client`: the commands of who calls a Plinth."""

import sys

from plinth.client.command.main import main

if __name__ == "__main__":
    sys.exit(main())
