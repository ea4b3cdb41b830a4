"""The plinth command with one domain more: that of hooks."""

import sys

from tests.inbound.hooks import compose

if __name__ == "__main__":
    compose()
    # Everything else is imported by then with the domain among the others.
    from server.__main__ import main

    sys.exit(main())
