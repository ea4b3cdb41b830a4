"""Resources: their rows, standard methods, lists, filters and pages."""

from server.kernel.resources.codecs import Raw
from server.kernel.resources.convert import ConversionPlan
from server.kernel.resources.lists import Lister
from server.kernel.resources.reads import ReadRows
from server.kernel.resources.resource import Resource
from server.kernel.resources.service import AnyService, EventFacts, Service

__all__ = ["AnyService", "ConversionPlan", "EventFacts", "Lister", "Raw", "ReadRows", "Resource", "Service"]
