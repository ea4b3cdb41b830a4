"""Integrations with services of others."""

from server.data.grants import Grants
from server.domains.integrations.credentials import CredentialBox
from server.domains.integrations.integration_tests import IntegrationTestService
from server.domains.integrations.integrations import IntegrationService
from server.domains.integrations.probing import INTEGRATIONS, Prober
from server.domains.integrations.settings import IntegrationSettings
from server.domains.integrations.tables import integrations
from server.kernel.module import Background, Module, Platform, Serve, WorkerPlatform
from server.kernel.privacy import NotPersonal
from server.kernel.resealing import Resealer, SealedColumns

SEALED = SealedColumns(table=integrations, columns=("sealed_credentials",), row_id="id")


def _integrations(platform: Platform) -> IntegrationService:
    return IntegrationService(CredentialBox(platform.settings.secrets), platform.clock)


def _tests(platform: Platform) -> IntegrationTestService:
    base_urls = platform.settings.own(IntegrationSettings).integration_base_urls
    prober = Prober(platform.providers(INTEGRATIONS), base_urls)
    return IntegrationTestService(CredentialBox(platform.settings.secrets), prober, platform.clock)


def _background(platform: WorkerPlatform) -> Background:
    box = CredentialBox(platform.settings.secrets).sealed
    resealer = Resealer(platform.quick_dispatch, box, SEALED, "integrations.reseal_credentials")
    return Background(schedules=(resealer.schedule,), services=(resealer.at_start(platform.house_threads),))


MODULE = Module(
    "integrations",
    services=(Serve(IntegrationService, _integrations), Serve(IntegrationTestService, _tests)),
    roles={"editor": ("integrations.*.read",)},
    settings=IntegrationSettings,
    grants=Grants(dispatch_writes=("integrations",)),
    erases=(
        NotPersonal(
            integrations,
            *("template", "name", "description", "options", "sealed_credentials", "credential_names", "account"),
            "last_error",
            why="of an account that a tenant has with a service",
        ),
    ),
    background=_background,
)
