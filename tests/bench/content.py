"""What stands in the pages that are read and made, the same for every server."""

DESCRIPTION = "When the shop is open, how to reach it by train, and where to leave the car. " * 3
SETTINGS = {"layout": "wide", "theme": {"variant": "dark", "accent": "#336699"}, "sections": [1, 2, 3], "nav": True}
# In a body: another number each time it is sent, of as many bytes.
NUMBER = "__NUMBER__"
