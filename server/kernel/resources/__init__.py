"""Resources: their rows, standard methods, lists, filters and pages."""

from server.kernel.resources.codecs import Raw
from server.kernel.resources.convert import ConversionPlan
from server.kernel.resources.lists import Lister
from server.kernel.resources.reads import ReadRows
from server.kernel.resources.requested_changes import RequestedChanges, mask_of
from server.kernel.resources.resource import Hooks, Parent, Resource, States, Tree
from server.kernel.resources.service import AnyService, EventFacts, Service, private_events, revealed_by, seen_by

__all__ = [
    "AnyService",
    "ConversionPlan",
    "EventFacts",
    "Hooks",
    "Lister",
    "Parent",
    "Raw",
    "ReadRows",
    "RequestedChanges",
    "Resource",
    "Service",
    "States",
    "Tree",
    "mask_of",
    "private_events",
    "revealed_by",
    "seen_by",
]
