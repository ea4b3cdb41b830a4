"""Transfers: files that go out and come in piece by piece."""

from server.kernel.transfers.downloads import Download, Downloads, StoredFile
from server.kernel.transfers.uploads import Uploads

__all__ = ["Download", "Downloads", "StoredFile", "Uploads"]
