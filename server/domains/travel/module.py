"""Travel: the trips of a tenant's users, and what they spend."""

from server.domains.travel.expenses import ExpenseService
from server.domains.travel.tables import expenses, trips
from server.domains.travel.trips import TripService
from server.kernel.module import Module
from server.kernel.privacy import Export, NotPersonal, Pseudonymise

OWN = ("travel.*", "-travel.*.manage")
MODULE = Module(
    "travel",
    services=(TripService, ExpenseService),
    roles={"editor": OWN, "member": OWN, "employee": OWN, "viewer": ("travel.*.read",)},
    # What was spent is a fact of the tenant's. What the traveller said of it is not.
    erases=(
        Pseudonymise(trips, "title", "destination_name", "special_requirements", "feedback"),
        NotPersonal(trips, "country", "time_zone", "budget_currency", "base_currency", why="codes"),
        Pseudonymise(expenses, "description", "place"),
        NotPersonal(expenses, "amount_currency", "base_amount_currency", "exchange_rate", why="of an amount"),
    ),
    exports=(Export(trips), Export(expenses)),
)
