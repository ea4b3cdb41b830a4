"""All modules of the server, of which a process imports those that it needs."""

from importlib import import_module
from pkgutil import walk_packages

import server


def import_everything() -> None:
    """Import every module but migrations and the command."""
    for module in walk_packages(server.__path__, "server."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)
