"""Backups: a consistent dump of every row with the secret that opens it, verified by restoring it."""
