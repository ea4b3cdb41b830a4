"""Travel: the trips of a tenant's users, and what they spend."""

from server.domains.travel.expenses import ExpenseService
from server.domains.travel.trips import TripService
from server.kernel.module import Module

OWN = ("travel.*", "-travel.*.manage")
MODULE = Module(
    "travel",
    services=(TripService, ExpenseService),
    roles={"editor": OWN, "member": OWN, "employee": OWN, "viewer": ("travel.*.read",)},
)
