"""Metrics: the meters, the files that processes share, the endpoint."""
