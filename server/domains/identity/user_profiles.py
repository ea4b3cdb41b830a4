"""What users tell of themselves in a tenant, how they like things to be there, and which terms they have accepted."""

from plinth.identity.v1 import terms_acceptance_pb2, user_preferences_pb2, user_profile_pb2
from plinth.identity.v1.terms_acceptance_pb2 import TermsAcceptance
from plinth.identity.v1.user_preferences_pb2 import UserPreferences
from plinth.identity.v1.user_profile_pb2 import UserProfile

from server.domains.identity.tables import terms_acceptances, user_preferences, user_profiles
from server.kernel.call import Call
from server.kernel.problems import broken_rules
from server.kernel.resources import Resource, Service
from server.kernel.time_zones import time_zone_faults


class UserProfileService(Service[UserProfile]):
    """Profiles of users."""

    descriptor = user_profile_pb2.DESCRIPTOR.services_by_name["UserProfileService"]
    resource = Resource(UserProfile, user_profiles, singleton=True, owner="user_id", seen_by="identity.profiles.manage")


class UserPreferencesService(Service[UserPreferences]):
    """Preferences of users."""

    descriptor = user_preferences_pb2.DESCRIPTOR.services_by_name["UserPreferencesService"]
    resource = Resource(
        UserPreferences, user_preferences, singleton=True, owner="user_id", seen_by="identity.preferences.manage"
    )

    def check(self, call: Call, resource: UserPreferences, before: UserPreferences | None) -> None:
        """Refuse a time zone that does not exist."""
        del call, before
        faults = time_zone_faults("user_preferences.time_zone", resource.time_zone)
        if faults:
            raise broken_rules(faults)


class TermsAcceptanceService(Service[TermsAcceptance]):
    """Acceptances of terms."""

    descriptor = terms_acceptance_pb2.DESCRIPTOR.services_by_name["TermsAcceptanceService"]
    resource = Resource(
        TermsAcceptance,
        terms_acceptances,
        filterable=("id", "document", "document_version", "create_time"),
        sortable=("create_time",),
        unique={"terms_acceptances_document_key": "document_version"},
        owner="user_id",
        seen_by="identity.terms.manage",
    )
