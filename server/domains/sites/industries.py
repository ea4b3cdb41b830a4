"""Industries that templates of pages are made for."""

from collections.abc import Mapping

INDUSTRIES: Mapping[str, str] = {
    "accounting": "Accounting and tax",
    "beauty": "Beauty and hair",
    "car-service": "Car service",
    "cleaning": "Cleaning",
    "construction": "Construction",
    "consulting": "Consulting",
    "dentist": "Dentist",
    "education": "Education",
    "events": "Events and weddings",
    "fitness": "Fitness and yoga",
    "florist": "Florist",
    "hotel": "Hotel and guest house",
    "legal": "Legal services",
    "medical": "Medical practice",
    "nonprofit": "Non-profit",
    "photography": "Photography",
    "real-estate": "Real estate",
    "restaurant": "Restaurant and café",
    "shop": "Shop",
    "software": "Software",
    "trades": "Trades and repairs",
    "travel": "Travel",
}
"""Key to name."""
