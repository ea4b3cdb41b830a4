"""The background work of communication: mail is sent, or held where no SMTP server is set."""

from server.domains.communication.dkim_signing import DkimSigner, signer_of
from server.domains.communication.gauges import MailGauges
from server.domains.communication.letterheads import Letterheads
from server.domains.communication.mailing import Holder, Mailer, Sending
from server.domains.communication.settings import CommunicationSettings
from server.domains.communication.smtp import Relay
from server.kernel.module import Background, BackgroundService, WorkerPlatform
from server.kernel.sealing import SealedBox


def background(platform: WorkerPlatform, box: SealedBox) -> Background:
    """The services of communication."""
    settings, own = platform.settings, platform.settings.own(CommunicationSettings)
    url, database, threads = own.communication_smtp_url, platform.quick_dispatch, platform.house_threads
    gauges = MailGauges(database, threads)
    if url is None:
        is_desk = settings.environment == "development" and settings.listens_on_loopback
        holder = Holder(database, threads, box, shows_text=is_desk, clock=platform.clock)
        return Background(services=(gauges, holder))
    address = url.get_secret_value()
    mailer: BackgroundService = Mailer(
        database,
        threads,
        lambda: Relay(address, own.communication_mail_from, own.communication_smtp_timeout),
        box,
        Letterheads(platform.database, platform.ports.tenant_preferences),
        sending=Sending(
            sender=own.communication_mail_from,
            api=settings.api_address(),
            bounce_domain=own.communication_bounce_domain or "",
            signer=_signer(own),
        ),
        connections=own.communication_smtp_connections,
        clock=platform.clock,
    )
    return Background(services=(gauges, mailer))


def _signer(own: CommunicationSettings) -> DkimSigner | None:
    path = own.communication_dkim_key_file
    return signer_of(path, own.mail_domain, own.communication_dkim_selector) if path else None
