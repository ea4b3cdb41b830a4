"""The greeting: each new connection first asks for its cluster (epochs.py) and for the time (clock.py).

One statement asks both. A slow change of epoch makes the measured time less precise, but not wrong.
"""

from sqlalchemy import Boolean, DateTime, text

from server.data.statements import Statement

GREETING = "SELECT plinth_keep_epoch() AS is_new, clock_timestamp() AS moment"
GREET = Statement(text(GREETING).columns(is_new=Boolean(), moment=DateTime(timezone=True)), is_kept=False)
