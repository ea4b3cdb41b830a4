"""Signing in at other providers, and linking identities there to a user."""

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from plinth.identity.v1 import federated_identity_pb2 as pb
from plinth.identity.v1.auth_pb2 import Session
from plinth.identity.v1.federated_identity_pb2 import (
    FederatedIdentity,
    FederatedStart,
    IdentityProvider,
    ListIdentityProvidersResponse,
    ListOwnFederatedIdentitiesResponse,
)
from plinth.identity.v1.user_pb2 import User

from server.domains.identity import federated_identity_rows as identities
from server.domains.identity.accounts import told
from server.domains.identity.half_sign_ins import HalfSignIns
from server.domains.identity.id_tokens import KeySets
from server.domains.identity.letters import Kind, send_letter
from server.domains.identity.oauth_attempts import OAuthAttempt, OAuthAttempts, expires_of
from server.domains.identity.oauth_clients import OAUTH, OAuthClient, OAuthPerson
from server.domains.identity.oauth_connections import KNOWN, OAuthConnection
from server.domains.identity.sign_in_guard import SignInGuard
from server.domains.identity.sign_ins import SignIns
from server.domains.identity.sign_ups import SignUps
from server.domains.identity.user_rows import LOCK_USER, USER
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.mail_addresses import known_form
from server.kernel.problems import Reason, StateForbids, Violation, broken_rules, limit_reached, not_found, taken
from server.kernel.providers import ProviderPort, not_configured
from server.kernel.resources import EventFacts, Service

PAGE_MARK = "."
"""Stands before the number of the page in the state of who comes back with a form."""
PASSED_ON = ("code", "state", "error", "iss")
MOST_FIELDS = 20
SEE_OTHER = 303
PROVIDER, IDENTITY = "plinth.dev/IdentityProvider", "plinth.dev/FederatedIdentity"
CameBack = pb.LogInWithIdentityProviderRequest | pb.LinkFederatedIdentityRequest


class FederatedIdentityService(Service):
    """Signing in at other providers."""

    descriptor = pb.DESCRIPTOR.services_by_name["FederatedIdentityService"]
    events: ClassVar = {
        "federated_identity.unlinked": EventFacts(FederatedIdentity),
        "user.signed_up": EventFacts(User),
    }

    def __init__(
        self,
        connections: Mapping[str, OAuthConnection],
        port: ProviderPort,
        attempts: OAuthAttempts,
        pages: Sequence[str],
        api: str,
        *,
        sign_ins: SignIns,
        sign_ups: SignUps,
        half: HalfSignIns,
        guard: SignInGuard,
        clock: Clock,
    ) -> None:
        """`connections` are by the id of their provider; `pages` are those to which browsers come back.

        `api` is where this API is, to which a provider sends the browser that answers by a form.
        """
        super().__init__()
        keys = KeySets(clock)
        self._port = port
        self._clients = {name: OAuthClient(each, port, keys, clock) for name, each in connections.items()}
        self._attempts = attempts
        self._pages = pages
        self._api = api
        self._sign_ins = sign_ins
        self._sign_ups = sign_ups
        self._half = half
        self._guard = guard
        self._clock = clock

    def list_identity_providers(
        self, call: Call, request: pb.ListIdentityProvidersRequest
    ) -> ListIdentityProvidersResponse:
        """The providers of the settings."""
        del call, request
        found = [client.connection for client in self._clients.values()]
        return ListIdentityProvidersResponse(
            providers=[IdentityProvider(id=each.id, name=each.title) for each in found]
        )

    # Signing in ----------------------------------------------------------------------------------------------------

    def start_federated_log_in(self, call: Call, request: pb.StartFederatedLogInRequest) -> FederatedStart:
        """An attempt to sign in."""
        return self._started(call, request.provider, request.redirect_url, tenant=request.tenant)

    def pass_on_federated_form(self, call: Call, request: pb.PassOnFederatedFormRequest) -> HttpBody:
        """Send the browser on, with what the form says in the query."""
        if not self._client(request.provider).connection.answers_by_form:
            raise not_found(PROVIDER, request.provider)
        form = _fields_of(request.form)
        _, mark, place = form.get("state", "").rpartition(PAGE_MARK)
        if not mark or not place.isdecimal() or int(place) >= len(self._pages):
            raise broken_rules([Violation("form", "has no `state` that was made here", "state.unknown")])
        page = self._pages[int(place)]
        query = urlencode({name: form[name] for name in PASSED_ON if name in form})
        call.http_status = SEE_OTHER
        call.headers += [
            ("location", f"{page}{'&' if '?' in page else '?'}{query}"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
        ]
        return HttpBody(content_type="text/plain; charset=utf-8", data=b"Go on at the address in Location.\n")

    def log_in_with_identity_provider(self, call: Call, request: pb.LogInWithIdentityProviderRequest) -> Session:
        """Exchange the provider's code for tokens of Plinth."""
        attempt, person = self._come_back(request)
        row = call.writes.run(identities.FIND, provider=request.provider, subject=person.subject).first()
        if row is None:
            row = self._newcomer(call, request.provider, attempt, person)
        else:
            call.writes.queue(identities.NOTE_USE, identity_id=row["identity_id"], email=person.email)
        place = self._sign_ins.place(call, row, attempt.tenant)
        if row["has_second_factor"]:
            return self._half.challenged(call, row, place)
        session = self._sign_ins.open(call, row, place)
        self._guard.remember(call, row["id"])
        return session

    # Linking -------------------------------------------------------------------------------------------------------

    def start_federated_link(self, call: Call, request: pb.StartFederatedLinkRequest) -> FederatedStart:
        """An attempt to link an identity, in this session."""
        return self._started(call, request.provider, request.redirect_url, session_id=call.caller.session_id)

    def link_federated_identity(self, call: Call, request: pb.LinkFederatedIdentityRequest) -> FederatedIdentity:
        """Link an identity to the caller."""
        _, person = self._come_back(request, session_id=call.caller.session_id)
        user_id = call.caller.user_id
        # One after the other, so that the limit holds.
        call.writes.run(LOCK_USER, user_id=user_id).one()
        if len(call.writes.run(identities.LIST, user_id=user_id).all()) >= identities.MOST:
            raise limit_reached("As many identities as can be are linked: unlink one.", identities.MOST, IDENTITY)
        added = identities.add(call, user_id, request.provider, person)
        if added is None:
            raise taken(IDENTITY, "code")
        send_letter(call, user_id, Kind.IDENTITY_LINKED)
        shown = shown_identity(added)
        told(call, shown)
        return shown

    def list_own_federated_identities(
        self, call: Call, request: pb.ListOwnFederatedIdentitiesRequest
    ) -> ListOwnFederatedIdentitiesResponse:
        """The identities of the caller."""
        del request
        rows = call.reads.run(identities.LIST, user_id=call.caller.user_id).all()
        return ListOwnFederatedIdentitiesResponse(identities=[shown_identity(row) for row in rows])

    def unlink_federated_identity(self, call: Call, request: pb.UnlinkFederatedIdentityRequest) -> Empty:
        """Unlink identities of the caller."""
        user_id = call.caller.user_id
        user = call.writes.run(LOCK_USER, user_id=user_id).one()
        where = {"user_id": user_id, "provider": request.provider, "identity_id": request.identity_id or None}
        removed = call.writes.run(identities.REMOVE, **where).all()
        if not removed:
            raise not_found(IDENTITY, request.identity_id or request.provider)
        if not user["password_hash"] and not call.writes.run(identities.OTHER_WAYS, user_id=user_id).value():
            raise StateForbids(
                "Nothing would be left to sign in with: choose a password, or add a passkey, first.",
                metadata={"resource_type": USER, "state": "LAST_WAY_TO_SIGN_IN"},
            )
        send_letter(call, user_id, Kind.IDENTITY_UNLINKED)
        return told(call, FederatedIdentity(id=removed[0]["id"], provider=request.provider))

    # Parts ---------------------------------------------------------------------------------------------------------

    def _client(self, provider: str) -> OAuthClient:
        """The client of a provider. Raises NotFound, and StateForbids for one that is known but not configured."""
        client = self._clients.get(provider)
        if client is not None:
            return client
        if provider in KNOWN:
            # Tells the setting.
            self._port.check()
        raise not_found(PROVIDER, provider)

    def _page(self, redirect_url: str) -> str:
        """The page to come back to. Raises RuleViolated for a page that is not in the settings: it would get codes."""
        if not self._pages:
            raise not_configured(OAUTH.name, "PLINTH_IDENTITY_OAUTH_REDIRECT_URLS")
        if redirect_url and redirect_url not in self._pages:
            raise broken_rules([Violation("redirect_url", "is not one of the settings", "redirect_url.unknown")])
        return redirect_url or self._pages[0]

    def _started(
        self, call: Call, provider: str, redirect_url: str, *, tenant: str = "", session_id: str = ""
    ) -> FederatedStart:
        client, page, mark = self._client(provider), self._page(redirect_url), ""
        if client.connection.answers_by_form:
            mark = f"{PAGE_MARK}{self._pages.index(page)}"
            page = f"{self._api}/api/v1/auth/oauth/{provider}/form"
        attempt = self._attempts.new(provider, page, mark=mark, tenant=tenant, session_id=session_id)
        call.headers.append(("cache-control", "no-store"))
        shown = FederatedStart(
            url=client.authorization_url(attempt), state=attempt.state, attempt=self._attempts.seal(attempt)
        )
        shown.expire_time.FromDatetime(expires_of(attempt, self._clock()))
        return shown

    def _come_back(self, request: CameBack, *, session_id: str = "") -> tuple[OAuthAttempt, OAuthPerson]:
        """Who has come back. The provider is asked before anything is read or written."""
        client = self._client(request.provider)
        attempt = self._attempts.open(request.attempt, request.provider, request.state, session_id=session_id)
        if request.error:
            raise _refused(request.error)
        if not request.code:
            raise broken_rules([Violation("code", "is needed where there is no error", "code.missing")])
        return attempt, client.person(attempt, request.code, request.iss)

    def _newcomer(self, call: Call, provider: str, attempt: OAuthAttempt, person: OAuthPerson) -> identities.Row:
        """The user who comes from a provider for the first time."""
        if not person.is_email_verified:
            raise _refused("email_unverified")
        user = self._sign_ups.with_verified_address(
            call,
            known_form(person.email),
            tenant=attempt.tenant,
            first_name=person.first_name[: identities.LONGEST_NAME],
            last_name=person.last_name[: identities.LONGEST_NAME],
        )
        if identities.add(call, user["id"], provider, person) is None:
            # Of a user who was deleted, and can be restored until the erasure.
            raise taken(IDENTITY, "code")
        return user | {"has_second_factor": False}


def _fields_of(form: HttpBody) -> dict[str, str]:
    try:
        return dict(parse_qsl(form.data.decode(), max_num_fields=MOST_FIELDS))
    except ValueError as error:
        raise broken_rules([Violation("form", "is no form of at most 20 fields", "form.readable")]) from error


def shown_identity(row: identities.Row) -> FederatedIdentity:
    """The identity in a row."""
    shown = FederatedIdentity(id=row["id"], provider=row["provider"], email=row["email"])
    shown.create_time.FromDatetime(row["create_time"])
    if row["last_use_time"] is not None:
        shown.last_use_time.FromDatetime(row["last_use_time"])
    return shown


def _refused(code: str) -> StateForbids:
    return StateForbids(
        "The provider signs nobody in here." if code == "email_unverified" else "The provider has refused.",
        reason=Reason.REASON_PROVIDER_REFUSED,
        metadata={"provider": OAUTH.name, "provider_code": code},
    )
