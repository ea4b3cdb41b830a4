"""Resources: their rows, standard methods, lists, filters and pages."""

from server.kernel.resources.codecs import Raw
from server.kernel.resources.convert import ConversionPlan
from server.kernel.resources.lists import Lister
from server.kernel.resources.reads import ReadRows, is_one_of
from server.kernel.resources.requested_changes import RequestedChanges, mask_of
from server.kernel.resources.resource import Hooks, Parent, Resource, Shown, States, Tree
from server.kernel.resources.rows import ResourceRows
from server.kernel.resources.service import AnyService, EventFacts, Service, private_events, revealed_by, seen_by
from server.kernel.resources.slugs import Slugs, with_suffix

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
    "ResourceRows",
    "Service",
    "Shown",
    "Slugs",
    "States",
    "Tree",
    "is_one_of",
    "mask_of",
    "private_events",
    "revealed_by",
    "seen_by",
    "with_suffix",
]
