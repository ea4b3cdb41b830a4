"""What every new connection asks first: which cluster it leads to (epochs.py), and what time it is there (clock.py).

One statement asks both. A change of epoch that takes long makes the time that is learned less exact, and not wrong.
"""

from sqlalchemy import Boolean, DateTime, text

from server.data.statements import Statement

GREETING = "SELECT plinth_keep_epoch() AS is_new, clock_timestamp() AS moment"
GREET = Statement(text(GREETING).columns(is_new=Boolean(), moment=DateTime(timezone=True)), is_kept=False)
