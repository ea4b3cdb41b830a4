"""Communication: the mail of tenants, and mail about accounts."""

from datetime import timedelta
from email.utils import parseaddr

from server.data.grants import Grants
from server.domains.communication.email_messages import EmailMessageService
from server.domains.communication.erasure import erase_mail
from server.domains.communication.queue import MailQueue
from server.domains.communication.settings import CommunicationSettings
from server.domains.communication.tables import email_messages
from server.kernel.module import Background, Expire, Foundation, Module, Platform, Serve, WorkerPlatform
from server.kernel.ports import Offers
from server.kernel.privacy import Erase, NotPersonal
from server.kernel.sealing import SealedBox
from server.secrets import Secrets
from server.settings import Settings

OWN = ("communication.emails.read", "communication.emails.send")


def _email_messages(platform: Platform) -> EmailMessageService:
    own = platform.settings.own(CommunicationSettings)
    return EmailMessageService(own.communication_mail_from, platform.clock)


def _offers(foundation: Foundation) -> Offers:
    sender = foundation.settings.own(CommunicationSettings).communication_mail_from
    domain = parseaddr(sender)[1].rpartition("@")[2]
    return Offers(mails=MailQueue(_box(foundation.settings.secrets), domain, foundation.clock))


def _box(secrets: Secrets) -> SealedBox:
    return SealedBox(secrets, "mail secret")


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.communication.background import background  # noqa: PLC0415 - in workers only

    return background(platform, _box(platform.settings.secrets))


def _kept(settings: Settings) -> timedelta:
    return timedelta(days=settings.own(CommunicationSettings).communication_mail_retention_days)


MODULE = Module(
    "communication",
    services=(Serve(EmailMessageService, _email_messages),),
    roles={"editor": OWN, "employee": OWN},
    settings=CommunicationSettings,
    offers=_offers,
    grants=Grants(dispatch_writes=("email_messages",)),
    retention=(Expire(table=email_messages, by="expire_time", after=_kept, every_tenant=True),),
    erases=(
        Erase(
            table=email_messages,
            columns=("to", "to_folded", "subject", "text", "secret", "reply_to", "last_answer", "user_id"),
            run=erase_mail,
            without_tenant=True,
        ),
        NotPersonal(email_messages, "message_id", why="made of the message's own id"),
    ),
    background=_background,
)
