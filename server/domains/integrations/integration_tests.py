"""Tests of integrations: the service is asked with the stored credentials."""

from cryptography.exceptions import InvalidTag
from plinth.integrations.v1 import integration_pb2
from plinth.integrations.v1.integration_pb2 import Integration
from sqlalchemy import bindparam, func, literal_column, select, update

from server.data.statements import Row, Statement
from server.domains.integrations.credentials import CredentialBox
from server.domains.integrations.integrations import INTEGRATION, IS_OWN, template_of
from server.domains.integrations.probing import Prober
from server.domains.integrations.tables import integrations
from server.domains.integrations.templates import Values
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import EtagMismatch, StateForbids
from server.kernel.resources import ReadRows, Service
from server.kernel.sealing import UnknownKey

_c = integrations.c
SEALED = Statement(select(_c.sealed_credentials, _c.version).where(*IS_OWN))


class IntegrationTestService(Service):
    """Tests of integrations."""

    descriptor = integration_pb2.DESCRIPTOR.services_by_name["IntegrationTestService"]

    def __init__(self, box: CredentialBox, prober: Prober, clock: Clock) -> None:
        super().__init__()
        self._box = box
        self._prober = prober
        self._clock = clock
        self._integrations = ReadRows(self, INTEGRATION)
        found = ("status", "account", "last_error", "last_test_time")
        self._keep = Statement(
            update(integrations)
            .where(*IS_OWN, _c.version == bindparam("known", type_=_c.version.type))
            .values(
                {name: bindparam(f"new_{name}", type_=_c[name].type) for name in found}
                | {"version": _c.version + literal_column("1"), "update_time": func.now()}
            )
            .returning(*self._integrations.plan.columns)
        )

    def test_integration(self, call: Call, request: integration_pb2.TestIntegrationRequest) -> Integration:
        """Ask the service, then store what it said.

        Until it has answered, the transaction writes nothing and locks nothing: readers of the event log wait for every
        transaction that has written.
        """
        before = self._integrations.get(call, request.integration_id)
        row = call.reads.run(SEALED, tenant=call.tenant_id, integration=before.id).one()
        options = {option.name: option.value for option in before.options}
        finding = self._prober.probe(template_of(before), options, self._opened(row, before.id))
        result = call.writes.run(
            self._keep,
            tenant=call.tenant_id,
            integration=before.id,
            known=row["version"],
            new_status=Integration.STATUS_FAILING if finding.error else Integration.STATUS_CONNECTED,
            new_account=finding.account,
            new_last_error=finding.error,
            new_last_test_time=self._clock(),
        )
        if not result.returned:
            raise EtagMismatch("The integration was changed while it was tested: test it again.")
        after: Integration = self._integrations.plan.message(result.raw(0))
        call.note_change(before, after)
        return after

    def _opened(self, row: Row, integration_id: str) -> Values:
        try:
            return self._box.open(row["sealed_credentials"], integration_id)
        except (UnknownKey, InvalidTag) as error:
            metadata = {
                "resource_type": self._integrations.type,
                "resource": integration_id,
                "state": "CREDENTIALS_LOST",
            }
            words = "The credentials of this integration are lost: replace them."
            raise StateForbids(words, metadata=metadata) from error
