"""Communication: the mail of tenants, and mail about accounts."""

from datetime import timedelta

from server.data.grants import Grants
from server.domains.communication.email_messages import EmailMessageService
from server.domains.communication.email_reports import EmailReportService, report_signature
from server.domains.communication.email_suppressions import EmailSuppressionService
from server.domains.communication.email_templates import EmailTemplateService, EmailTemplateVersionService
from server.domains.communication.erasure import erase_mail, forget_suppressed
from server.domains.communication.queue import MailQueue
from server.domains.communication.settings import CommunicationSettings
from server.domains.communication.tables import (
    email_messages,
    email_suppressions,
    email_template_versions,
    email_templates,
)
from server.domains.communication.template_use import TemplateUse
from server.domains.communication.unsubscribing import UnsubscribeService
from server.kernel.inbound import InboundSignature
from server.kernel.module import Background, Expire, Foundation, Module, Platform, Serve, WorkerPlatform
from server.kernel.ports import Offers
from server.kernel.privacy import Erase, NotPersonal
from server.kernel.sealing import SealedBox
from server.secrets import Secrets
from server.settings import Settings

OWN = ("communication.emails.read", "communication.emails.send")
SUPPRESSIONS_KEPT = timedelta(days=30)


def _email_messages(platform: Platform) -> EmailMessageService:
    own = platform.settings.own(CommunicationSettings)
    template_use = TemplateUse(platform.ports.tenant_preferences)
    return EmailMessageService(own.communication_mail_from, template_use, platform.clock)


def _offers(foundation: Foundation) -> Offers:
    domain = foundation.settings.own(CommunicationSettings).mail_domain
    return Offers(mails=MailQueue(_box(foundation.settings.secrets), domain, foundation.clock))


def _unsubscribe(platform: Platform) -> UnsubscribeService:
    return UnsubscribeService(platform.database, platform.ports.memberships, platform.clock)


def _inbound(foundation: Foundation) -> tuple[InboundSignature, ...]:
    secret = foundation.settings.own(CommunicationSettings).communication_report_secret
    return (report_signature(foundation.database, secret.get_secret_value() if secret else ""),)


def _box(secrets: Secrets) -> SealedBox:
    return SealedBox(secrets, "mail secret")


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.communication.background import background  # noqa: PLC0415 - in workers only

    return background(platform, _box(platform.settings.secrets))


def _kept(settings: Settings) -> timedelta:
    return timedelta(days=settings.own(CommunicationSettings).communication_mail_retention_days)


MODULE = Module(
    "communication",
    services=(
        Serve(EmailMessageService, _email_messages),
        Serve(EmailSuppressionService, lambda platform: EmailSuppressionService(platform.clock)),
        Serve(EmailTemplateService, lambda platform: EmailTemplateService(platform.clock)),
        Serve(EmailTemplateVersionService, lambda _: EmailTemplateVersionService()),
        Serve(UnsubscribeService, _unsubscribe),
        Serve(EmailReportService, lambda platform: EmailReportService(platform.clock)),
    ),
    roles={
        "editor": (*OWN, "communication.email_suppressions.*", "communication.email_templates.*"),
        "employee": (*OWN, "communication.email_templates.read"),
    },
    settings=CommunicationSettings,
    offers=_offers,
    grants=Grants(dispatch_writes=("email_messages", "email_suppressions")),
    retention=(
        Expire(table=email_messages, by="expire_time", after=_kept, every_tenant=True),
        Expire(table=email_suppressions, by="expire_time", after=SUPPRESSIONS_KEPT, every_tenant=True),
    ),
    inbound=_inbound,
    erases=(
        Erase(
            table=email_messages,
            columns=("to", "to_folded", "subject", "text", "html", "secret", "reply_to", "last_answer", "user_id"),
            run=erase_mail,
            without_tenant=True,
        ),
        NotPersonal(email_messages, "message_id", "token", why="made of the message's own id, or drawn at random"),
        Erase(table=email_suppressions, columns=("address",), run=forget_suppressed),
        NotPersonal(email_messages, "email_template_version_id", why="the id of a template's version"),
        NotPersonal(
            email_templates,
            *("key", "locale", "display_name", "subject", "mjml", "text", "variables"),
            why="what a tenant writes to everybody",
        ),
        NotPersonal(
            email_template_versions,
            *("email_template_id", "subject", "mjml", "html", "text", "variables"),
            why="what a tenant has written to everybody",
        ),
        NotPersonal(email_suppressions, "address_hash", why="a pseudonym, by which the person stays without mail"),
        NotPersonal(email_suppressions, "email_message_id", why="the id of a message, which is deleted"),
    ),
    background=_background,
)
