"""Custom domains of tenants."""

import secrets

from plinth.tenancy.v1 import custom_domain_pb2
from plinth.tenancy.v1.custom_domain_pb2 import CustomDomain

from server.domains.tenancy.domain_records import DomainRecords
from server.domains.tenancy.tables import custom_domains
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Resource, Service

MOST = 50
CHALLENGE_BYTES = 20
RECORD = "_plinth-challenge"


class CustomDomainService(Service[CustomDomain]):
    """Custom domains."""

    descriptor = custom_domain_pb2.DESCRIPTOR.services_by_name["CustomDomainService"]
    resource = Resource(
        CustomDomain,
        custom_domains,
        filterable=("id", "hostname", "verify_time", "create_time", "update_time"),
        sortable=("create_time", "hostname"),
        unique={"custom_domains_hostname_key": "hostname", "custom_domains_verified_key": "hostname"},
        computed=("record_name",),
        most=MOST,
    )

    def __init__(self, records: DomainRecords, clock: Clock, sites_domain: str, own_host: str) -> None:
        super().__init__()
        self._records = records
        self._clock = clock
        self._sites_domain = sites_domain.lower()
        self._own_host = own_host

    def prepare(self, call: Call, resource: CustomDomain, before: CustomDomain | None) -> None:
        """Draw what the record has to say."""
        del call
        if before is None:
            resource.record_value = f"plinth={secrets.token_hex(CHALLENGE_BYTES)}"

    def check(self, call: Call, resource: CustomDomain, before: CustomDomain | None) -> None:
        """Refuse host names that are the deployment's own."""
        del call, before
        name = resource.hostname
        if name in {self._sites_domain, self._own_host} or name.endswith(f".{self._sites_domain}"):
            fault = "belongs to the deployment"
            raise broken_rules([Violation("custom_domain.hostname", fault, "custom_domain.own")])

    def present(self, call: Call, resources: list[CustomDomain]) -> None:
        """Say where the record has to stand."""
        del call
        for resource in resources:
            resource.record_name = _record_name(resource)

    def verify_custom_domain(self, call: Call, request: custom_domain_pb2.VerifyCustomDomainRequest) -> CustomDomain:
        """Look for the record in DNS.

        Until DNS has answered, the transaction writes nothing and locks nothing: readers of the event log wait for
        every transaction that has written.
        """
        known = self.rows.get(call, request.custom_domain_id)
        fault = self._records.fault(_record_name(known), known.record_value)
        before = self.rows.lock(call, request.custom_domain_id)
        after = self.rows.copy_of(before)
        after.last_error = fault
        after.check_time.FromDatetime(self._clock())
        if not fault and not before.HasField("verify_time"):
            after.verify_time.CopyFrom(after.check_time)
        return self.rows.update(call, after, before)


def _record_name(domain: CustomDomain) -> str:
    return f"{RECORD}.{domain.hostname}"
