"""The processes of each role, and the work of commands."""
