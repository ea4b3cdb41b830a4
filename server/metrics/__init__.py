"""Metrics: the meters, the files that processes share, and the endpoint."""
