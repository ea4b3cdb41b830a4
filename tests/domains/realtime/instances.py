"""Realtime keeps nothing, and changes nothing."""

from tests.contract.instances import Instance, Mutation

INSTANCES: dict[str, Instance] = {}
MUTATIONS: tuple[Mutation, ...] = ()
