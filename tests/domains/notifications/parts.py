"""Parts of notifications that tests run themselves, beside those of the stack."""

from types import SimpleNamespace
from typing import cast

from server.domains.identity.contacts import Contacts
from server.domains.notifications.settings import NotificationSettings
from server.domains.notifications.telling import Teller
from server.domains.tenancy.memberships import Memberships
from server.domains.tenancy.tenant_settings import preferences_of
from server.kernel.clock import Clock, utc_now
from server.kernel.ports import Ports


def own_ports() -> Ports:
    """Those that notifications use, as the domains offer them."""
    found = SimpleNamespace(memberships=Memberships(), contacts=Contacts(), tenant_preferences=preferences_of)
    return cast("Ports", found)


def own_teller(clock: Clock = utc_now) -> Teller:
    """Who tells people something."""
    return Teller(own_ports(), NotificationSettings().outgoing_rates, clock)
