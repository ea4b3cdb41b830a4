"""Limits of uploads that both the gateway and the server enforce."""

# Bytes of a form beside the file in it: boundaries, headers, and other fields.
MOST_BESIDE_FILE = 64 * 1024
# Seconds that an upload may last, from its first byte to its last.
LONGEST_UPLOAD = 300.0
