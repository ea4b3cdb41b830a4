"""The port of outside providers, over HTTP."""

from server.adapters.providers.port import HttpProviders

__all__ = ["HttpProviders"]
