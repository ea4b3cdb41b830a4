"""Errors in configuring the gateway."""


class GatewayConfigurationError(Exception):
    """The contract or the settings cannot be turned into a configuration that Envoy accepts."""
