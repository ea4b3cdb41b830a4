"""Identity: users, their accounts, sessions and passwords, and API keys."""

from datetime import timedelta

from server.data.grants import Grants
from server.domains.identity.account import end_account, forget_invitations, revoke_keys
from server.domains.identity.accounts import AccountService
from server.domains.identity.api_key_usage import UsageCounter
from server.domains.identity.api_keys import ApiKeys, ApiKeyService, key_hash
from server.domains.identity.auth import AuthService
from server.domains.identity.contacts import Contacts
from server.domains.identity.employees import EmployeeService
from server.domains.identity.federated_identities import FederatedIdentityService
from server.domains.identity.granting import Granting
from server.domains.identity.half_sign_ins import HalfSignIns
from server.domains.identity.invitations import InvitationService
from server.domains.identity.letters import LetterTokens, LetterWriter
from server.domains.identity.oauth_attempts import PURPOSE as OAUTH_ATTEMPT
from server.domains.identity.oauth_attempts import OAuthAttempts
from server.domains.identity.oauth_clients import OAUTH
from server.domains.identity.passkey_ceremonies import PasskeyCeremonies
from server.domains.identity.passkeys import PasskeyProofs, PasskeyService
from server.domains.identity.password_check import PasswordCheck
from server.domains.identity.passwords import Passwords
from server.domains.identity.places import Places
from server.domains.identity.privacy import PersonErasure, PrivacyService
from server.domains.identity.recovery_codes import RecoveryCodes
from server.domains.identity.second_factor_codes import PURPOSE as AUTHENTICATOR_SECRET
from server.domains.identity.second_factor_codes import SecondFactorCodes
from server.domains.identity.second_factors import SecondFactorService
from server.domains.identity.sessions import Sessions
from server.domains.identity.settings import IdentitySettings
from server.domains.identity.sign_in_challenges import SignInChallenges
from server.domains.identity.sign_in_guard import KNOWN_FOR, SignInGuard
from server.domains.identity.sign_ins import SignIns
from server.domains.identity.sign_ups import SignUps
from server.domains.identity.step_ups import StepUpProofs
from server.domains.identity.tables import (
    account_letters,
    api_key_usage,
    api_keys,
    authenticators,
    employees,
    federated_identities,
    invitations,
    passkeys,
    recovery_codes,
    sessions,
    sign_in_networks,
    terms_acceptances,
    used_challenges,
    user_preferences,
    user_profiles,
    users,
)
from server.domains.identity.user_profiles import TermsAcceptanceService, UserPreferencesService, UserProfileService
from server.domains.identity.users import UserService
from server.kernel.cookies import BrowserCookies
from server.kernel.module import Background, Expire, Foundation, Module, Platform, Serve, WorkerPlatform
from server.kernel.ports import Offers
from server.kernel.privacy import Erase, Eraser, Export, NotPersonal, Pseudonymise, Remove
from server.kernel.resealing import Resealer, SealedColumns
from server.kernel.roles import ORDINARY_ROLES
from server.kernel.sealing import SealedBox

# Retention of the usage counts of API keys.
USAGE_KEPT = timedelta(days=92)
INVITATIONS_KEPT = timedelta(days=90)
AUTHENTICATOR_SECRETS = SealedColumns(table=authenticators, columns=("secret", "next_secret"), row_id="user_id")


def _guard(platform: Platform) -> SignInGuard:
    return SignInGuard(platform.limiter, platform.guesses, platform.rates["auth_failure"])


def _sessions(platform: Platform) -> Sessions:
    settings = platform.settings
    return Sessions(settings.secrets, timedelta(seconds=settings.refresh_token_lifetime), platform.clock)


def _sign_ins(platform: Platform) -> SignIns:
    return SignIns(platform.access_tokens, _sessions(platform), platform.ports.memberships)


def _sign_ups(platform: Platform) -> SignUps:
    return SignUps(platform.ports.memberships, platform.settings.default_tenant)


def _check(platform: Platform) -> PasswordCheck:
    return PasswordCheck(Passwords(platform.settings.password_memory), _guard(platform))


def _box(platform: Platform) -> SealedBox:
    return SealedBox(platform.settings.secrets, AUTHENTICATOR_SECRET)


def _codes(platform: Platform) -> SecondFactorCodes:
    return SecondFactorCodes(_box(platform), RecoveryCodes(), platform.clock)


def _ceremonies(platform: Platform) -> PasskeyCeremonies:
    settings = platform.settings
    own = settings.own(IdentitySettings)
    return PasskeyCeremonies(
        settings.secrets,
        platform.clock,
        name=own.identity_product,
        domain=own.passkey_domain(),
        origins=own.passkey_origins(settings.api_address("localhost")),
    )


def _auth(platform: Platform) -> AuthService:
    settings, codes = platform.settings, _codes(platform)
    return AuthService(
        platform.access_tokens,
        _sessions(platform),
        platform.ports.memberships,
        Passwords(settings.password_memory),
        guard=_guard(platform),
        sign_ins=_sign_ins(platform),
        challenges=SignInChallenges(settings.secrets, platform.clock),
        codes=codes,
        proofs=StepUpProofs(_check(platform), codes, PasskeyProofs(_ceremonies(platform))),
        sign_ups=_sign_ups(platform),
        cookies=BrowserCookies.of(settings),
    )


def _accounts(platform: Platform) -> AccountService:
    settings = platform.settings
    places = Places(settings.own(IdentitySettings).identity_place_database)
    return AccountService(LetterTokens(settings.secrets), Passwords(settings.password_memory), _check(platform), places)


def _second_factors(platform: Platform) -> SecondFactorService:
    product = platform.settings.own(IdentitySettings).identity_product
    return SecondFactorService(_box(platform), _codes(platform), RecoveryCodes(), product)


def _passkeys(platform: Platform) -> PasskeyService:
    ceremonies = _ceremonies(platform)
    return PasskeyService(ceremonies, PasskeyProofs(ceremonies), _sign_ins(platform), _guard(platform))


def _federated_identities(platform: Platform) -> FederatedIdentityService:
    settings = platform.settings
    own = settings.own(IdentitySettings)
    return FederatedIdentityService(
        own.oauth_connections,
        platform.providers(OAUTH),
        OAuthAttempts(SealedBox(settings.secrets, OAUTH_ATTEMPT), platform.clock),
        own.identity_oauth_redirect_urls,
        settings.api_address(),
        sign_ins=_sign_ins(platform),
        sign_ups=_sign_ups(platform),
        half=HalfSignIns(SignInChallenges(settings.secrets, platform.clock)),
        guard=_guard(platform),
        clock=platform.clock,
    )


def _granting(platform: Platform) -> Granting:
    return Granting(platform.permissions, platform.ports.memberships)


def _users(platform: Platform) -> UserService:
    return UserService(
        platform.page_tokens, _invitations(platform, "user"), platform.ports.memberships, _granting(platform)
    )


def _invitations(platform: Platform, body: str = "invitation") -> InvitationService:
    settings = platform.settings
    return InvitationService(
        LetterTokens(settings.secrets),
        Passwords(settings.password_memory),
        _granting(platform),
        memberships=platform.ports.memberships,
        mails=platform.ports.mails,
        database=platform.database,
        own=settings.own(IdentitySettings),
        api=settings.api_address(),
        clock=platform.clock,
        body=body,
    )


def _api_keys(platform: Platform) -> ApiKeyService:
    return ApiKeyService(
        key_hash(platform.settings.secrets), platform.permissions, platform.user_grants, platform.clock
    )


def _offers(foundation: Foundation) -> Offers:
    return Offers(
        api_keys=ApiKeys(foundation.database, foundation.settings.secrets, foundation.clock),
        usage=UsageCounter(foundation.database),
        contacts=Contacts(),
    )


def _privacy(platform: Platform) -> PrivacyService:
    return PrivacyService(
        platform.privacy,
        platform.ports.memberships,
        _check(platform),
        downloads=platform.downloads,
        database=platform.database,
    )


def _background(platform: WorkerPlatform) -> Background:
    eraser = Eraser(platform.privacy, platform.generations)
    work = PersonErasure(platform.database, platform.ports.memberships, eraser, platform.clock)
    letters = LetterWriter(platform.settings, platform.database, platform.ports.mails, platform.clock)
    box = SealedBox(platform.settings.secrets, AUTHENTICATOR_SECRET)
    resealer = Resealer(platform.database, box, AUTHENTICATOR_SECRETS, "identity.reseal_authenticators")
    return Background(
        jobs=(work.job, letters.job),
        long_jobs=(work.long_job,),
        schedules=(resealer.schedule,),
        services=(resealer.at_start(platform.house_threads),),
    )


MODULE = Module(
    "identity",
    services=(
        Serve(AuthService, _auth),
        Serve(AccountService, _accounts),
        Serve(SecondFactorService, _second_factors),
        Serve(PasskeyService, _passkeys),
        Serve(FederatedIdentityService, _federated_identities),
        Serve(ApiKeyService, _api_keys),
        Serve(InvitationService, _invitations),
        Serve(PrivacyService, _privacy),
        Serve(UserService, _users),
        EmployeeService,
        UserProfileService,
        UserPreferencesService,
        TermsAcceptanceService,
    ),
    roles=dict.fromkeys(
        ORDINARY_ROLES,
        (
            *("identity.profiles.read", "identity.profiles.update"),
            *("identity.preferences.read", "identity.preferences.update"),
            *("identity.terms.read", "identity.terms.accept"),
        ),
    ),
    settings=IdentitySettings,
    offers=_offers,
    grants=Grants(dispatch_writes=("invitations",)),
    retention=(
        Expire(table=sessions, by="expire_time"),
        Expire(table=account_letters, by="expire_time"),
        Expire(table=used_challenges, by="expire_time"),
        Expire(table=invitations, by="expire_time", after=INVITATIONS_KEPT, every_tenant=True),
        Expire(table=sign_in_networks, by="last_time", after=KNOWN_FOR),
        Expire(table=api_key_usage, by="day", after=USAGE_KEPT),
    ),
    erases=(
        Erase(
            table=users,
            columns=("email", "password_hash", "first_name", "last_name", "email_verify_time"),
            run=end_account,
        ),
        Remove(sessions),
        Remove(sign_in_networks),
        Remove(authenticators),
        Remove(recovery_codes),
        Remove(passkeys),
        Remove(federated_identities),
        NotPersonal(used_challenges, "challenge", why="random, and of nobody"),
        Remove(account_letters),
        Erase(
            table=invitations,
            columns=("email", "email_folded", "message", "first_name", "last_name"),
            run=forget_invitations,
        ),
        NotPersonal(invitations, "roles", "token_hash", why="what somebody may do, and a hash"),
        NotPersonal(invitations, "invite_user_id", "accept_user_id", why="ids, which stay as pseudonyms"),
        Erase(table=api_keys, columns=(), run=revoke_keys, ends_access=True),
        NotPersonal(api_keys, "name", "environment", "permissions", why="names a program, and what it may do"),
        NotPersonal(
            api_keys, "prefix", "secret_hash", "previous_prefix", "previous_hash", why="of a key that is revoked"
        ),
        NotPersonal(
            api_keys, "create_user_id", "create_api_key_id", "origin_user_id", why="ids, which stay as pseudonyms"
        ),
        NotPersonal(api_key_usage, "day", "method", why="counts of a program's calls"),
        Pseudonymise(employees, "first_name", "last_name", "email", "phone", "job_title"),
        NotPersonal(employees, "number", "department", why="of the work, not of the person"),
        Remove(user_profiles),
        Remove(user_preferences),
        Remove(terms_acceptances),
    ),
    exports=(
        Export(users, by="id", leave_out=("password_hash",)),
        Export(sessions),
        Export(sign_in_networks),
        Export(authenticators, leave_out=("secret", "next_secret")),
        Export(recovery_codes, leave_out=("code_hash",)),
        Export(passkeys),
        Export(federated_identities),
        Export(account_letters, leave_out=("token_hash",)),
        Export(employees),
        Export(user_profiles),
        Export(user_preferences),
        Export(terms_acceptances),
        Export(api_keys, by="create_user_id", leave_out=("secret_hash", "previous_hash")),
    ),
    background=_background,
)
