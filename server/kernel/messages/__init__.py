"""Messages: masks, changes, ETags, free-form JSON, text."""

from server.kernel.messages.etags import etag_of
from server.kernel.messages.structs import fill_struct
from server.kernel.messages.text import normal_form

__all__ = ["etag_of", "fill_struct", "normal_form"]
