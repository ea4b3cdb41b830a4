"""Read models: figures and series over stored facts, the periods they are read for, and the facts behind them."""

from server.kernel.read_models.figures import Figures
from server.kernel.read_models.measures import Average, Count, Distinct, Measure, Percentile, Share, Sum
from server.kernel.read_models.members import Members
from server.kernel.read_models.series import Series, SeriesFault
from server.kernel.read_models.zones import Zones, ZoneSource, tenant_zone

__all__ = [
    "Average",
    "Count",
    "Distinct",
    "Figures",
    "Measure",
    "Members",
    "Percentile",
    "Series",
    "SeriesFault",
    "Share",
    "Sum",
    "ZoneSource",
    "Zones",
    "tenant_zone",
]
