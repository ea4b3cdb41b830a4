"""What goes wrong while the gateway is configured."""


class GatewayConfigurationError(Exception):
    """The contract or the settings cannot be turned into a configuration that Envoy accepts."""
