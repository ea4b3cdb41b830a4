"""The plinth command with one difference: every new page has a job done, as a product's own hook would want it.

Nobody works on the queue, so that what is measured is what enqueueing costs the call.
"""

import sys
from typing import Any

from server.commands import main
from server.domains.sites.pages import PageService
from server.kernel.call import Call


def enqueue(_: PageService, call: Call, resource: Any, before: Any | None) -> None:
    """Have a job done for a new page."""
    if before is None:
        call.enqueue("bench", "bench_page_created", tenant_id=call.tenant_id, page_id=resource.id)


if __name__ == "__main__":
    PageService.after_write = enqueue  # type: ignore[assignment, method-assign]
    sys.exit(main())
