"""The forms of files that entries are imported from and exported to."""

from server.domains.dictionary.formats.csv_rows import write_csv
from server.domains.dictionary.formats.detection import detect
from server.domains.dictionary.formats.dmlex import write_dmlex
from server.domains.dictionary.formats.found import Found, Unreadable
from server.domains.dictionary.formats.reading import entries_in

__all__ = ["Found", "Unreadable", "detect", "entries_in", "write_csv", "write_dmlex"]
