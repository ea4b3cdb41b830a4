"""Letters: mail about an account, to its user. A job writes them, so that no call takes longer for a known address.

A token in a letter is 256 random bits. The database has a keyed hash of it, and the queue of mail has it sealed.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import NoReturn

from sqlalchemy import Select, bindparam, column, func, insert, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.types import LargeBinary, SmallInteger, Text

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.identity.settings import IdentitySettings
from server.domains.identity.tables import account_letters, users
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.ids import new_id
from server.kernel.jobs import DEFAULT_QUEUE, Job
from server.kernel.keys import derive_key, sign
from server.kernel.ports import SECRET_PLACE, Mail, Mails
from server.kernel.problems import Violation, broken_rules
from server.secrets import Secrets
from server.settings import Settings

SEND = "identity.send_letter"
TOKEN_BYTES = 32
MOST_AN_HOUR = 5
"""Letters of one kind to one user in an hour: nobody fills another one's mailbox by signing up again and again."""
_letters = account_letters.c
_id = UUID(as_uuid=False)


class Kind(IntEnum):
    """The letters. Their numbers are stored."""

    VERIFICATION = 1
    PASSWORD_RESET = 2
    PASSWORD_CHANGED = 3
    SIGN_UP_REPEATED = 4
    TOKEN_REUSED = 5
    SECOND_FACTOR_ENABLED = 6
    SECOND_FACTOR_DISABLED = 7
    SECOND_FACTOR_LOCKED = 8
    RECOVERY_CODE_USED = 9
    PASSKEY_ADDED = 10
    PASSKEY_REMOVED = 11
    IDENTITY_LINKED = 12
    IDENTITY_UNLINKED = 13
    SECOND_FACTOR_RESET = 14


@dataclass(frozen=True, slots=True)
class Letter:
    """What a letter says."""

    subject: str
    body: str
    """`{product}` and `{link}` are filled in."""
    lifetime: timedelta = timedelta(hours=24)
    """How long its token is valid, and how long it is tried to be delivered."""


_NOT_YOU = "\n\nIf it was not you, change your password at once, and look through your sessions.\n"
LETTERS = {
    Kind.VERIFICATION: Letter(
        "Verify your mail address",
        "Hello,\n\nthis address was given for an account at {product}. Follow the link to verify that it is yours:\n\n"
        "{link}\n\nThe link is valid for 24 hours. If you did not sign up, you need not do anything.\n",
    ),
    Kind.PASSWORD_RESET: Letter(
        "Choose a new password",
        "Hello,\n\nsomebody asked for a new password for your account at {product}. To choose one:\n\n{link}\n\n"
        "This is valid for one hour, and works once. If it was not you, you need not do anything: your password stays "
        "as it is.\n",
        timedelta(hours=1),
    ),
    Kind.PASSWORD_CHANGED: Letter(
        "Your password was changed",
        "Hello,\n\nthe password of your account at {product} was changed, and other devices were signed out.\n\n"
        "If it was not you, ask for a new password at once, and look through your sessions.\n",
    ),
    Kind.SIGN_UP_REPEATED: Letter(
        "You have an account already",
        "Hello,\n\nsomebody signed up at {product} with this address, which has an account already. If it was you, "
        "sign in, or ask for a new password. If not, you need not do anything.\n",
    ),
    Kind.TOKEN_REUSED: Letter(
        "A session of yours was ended",
        "Hello,\n\na session of your account at {product} was ended, since one of its tokens was used twice. That "
        "happens when a device is restored from a copy, and also when a token was stolen.\n\nIf you do not know why, "
        "change your password, and look through your sessions.\n",
    ),
    Kind.SECOND_FACTOR_ENABLED: Letter(
        "Signing in now needs a code",
        "Hello,\n\nan authenticator app was added to your account at {product}: from now on, signing in with the "
        "password needs a code of it. Keep the recovery codes where you find them without your phone." + _NOT_YOU,
    ),
    Kind.SECOND_FACTOR_DISABLED: Letter(
        "Signing in needs no code any more",
        "Hello,\n\nthe authenticator app of your account at {product} was removed: signing in needs nothing but the "
        "password again." + _NOT_YOU,
    ),
    Kind.SECOND_FACTOR_RESET: Letter(
        "Your second factor was removed",
        "Hello,\n\nan administrator of {product} has removed the authenticator app of your account, as you have asked "
        "for, and has signed you out everywhere. Sign in with your password, and add an app again." + _NOT_YOU,
    ),
    Kind.SECOND_FACTOR_LOCKED: Letter(
        "Somebody knows your password",
        "Hello,\n\nsomebody signed in to your account at {product} with the right password and then sent too many "
        "wrong codes. For a while no code of your authenticator app is taken; a recovery code is." + _NOT_YOU,
    ),
    Kind.RECOVERY_CODE_USED: Letter(
        "A recovery code was used",
        "Hello,\n\none of the recovery codes of your account at {product} was used. It does not work again." + _NOT_YOU,
    ),
    Kind.PASSKEY_ADDED: Letter(
        "A passkey was added",
        "Hello,\n\na passkey was added to your account at {product}: it signs in without the password." + _NOT_YOU,
    ),
    Kind.PASSKEY_REMOVED: Letter(
        "A passkey was removed",
        "Hello,\n\na passkey of your account at {product} was removed: it signs in no more." + _NOT_YOU,
    ),
    Kind.IDENTITY_LINKED: Letter(
        "Another way to sign in was linked",
        "Hello,\n\nan account at another provider was linked to yours at {product}: it signs in to it." + _NOT_YOU,
    ),
    Kind.IDENTITY_UNLINKED: Letter(
        "A way to sign in was unlinked",
        "Hello,\n\nan account at another provider, which was linked to yours at {product}, signs in to it no more."
        + _NOT_YOU,
    ),
}
_PLACES = {
    Kind.VERIFICATION: ("/verify-email?token=", "{api}/api/v1/auth/verify-email/"),
    Kind.PASSWORD_RESET: (
        "/reset-password?token=",
        "Send this token with it to POST {api}/api/v1/auth/reset-password: ",
    ),
}
WITH_TOKEN = frozenset(_PLACES)

USER = Statement(
    select(users.c.email, users.c.email_verify_time)
    .where(users.c.id == bindparam("user_id", type_=_id), users.c.delete_time.is_(None))
    .with_for_update()
)
"""Locked, so that two workers count one after the other."""
RECENT = Statement(
    select(func.count().label("recent")).where(
        _letters.user_id == bindparam("user_id", type_=_id),
        _letters.kind == bindparam("kind", type_=SmallInteger()),
        _letters.create_time > func.now() - literal_column("interval '1 hour'"),
    )
)
_ADDED = ("id", "user_id", "kind", "token_hash", "address", "expire_time")
ADD = Statement(
    insert(account_letters).values({name: bindparam(name, type_=account_letters.c[name].type) for name in _ADDED})
)


def given_hashes() -> Select[tuple[bytes]]:
    """The parameter `hashes`, which are in hexadecimal, as a subquery."""
    given = (
        func.unnest(bindparam("hashes", type_=ARRAY(Text())))
        .table_valued(column("hash", Text()), name="given")
        .render_derived()
    )
    return select(func.decode(given.c.hash, literal_column("'hex'"), type_=LargeBinary()))


_BY_TOKEN = (
    select(
        _letters.id,
        _letters.user_id,
        (func.lower(users.c.email) == _letters.address).label("is_current"),
        users.c.email_verify_time,
    )
    .join(users, users.c.id == _letters.user_id)
    .where(
        _letters.token_hash.in_(given_hashes()),
        _letters.kind == bindparam("kind", type_=SmallInteger()),
        _letters.expire_time > func.now(),
        _letters.use_time.is_(None),
        users.c.delete_time.is_(None),
    )
)
BY_TOKEN = Statement(_BY_TOKEN.with_for_update())
"""The letter of a valid token, with its user, locked. Takes `hashes`, in hexadecimal, and `kind`."""


class LetterTokens:
    """The tokens of letters."""

    def __init__(self, given: Secrets) -> None:
        """`given` are the deployment's secrets."""
        self._keys = [derive_key(secret, "account token") for secret in given.accepted]

    def new(self) -> tuple[str, bytes]:
        """A token, and its hash."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        return token, sign(self._keys[0], token.encode())

    def hashes(self, token: str) -> list[str]:
        """The hashes that a token may have been stored under, in hexadecimal."""
        return [sign(key, token.encode()).hex() for key in self._keys]


def refuse_token() -> NoReturn:
    """Raise RuleViolated for a token that is unknown, expired or used."""
    raise broken_rules([Violation("token", "is not valid, or no longer: ask for a new mail", "token.invalid")])


def send_letter(call: Call, user_id: str, kind: Kind) -> None:
    """Enqueue a letter in the transaction of a call. For an id that nobody has, none is sent."""
    call.enqueue(DEFAULT_QUEUE, SEND, user_id=user_id, kind=int(kind))


class LetterWriter:
    """Writes letters, in workers."""

    def __init__(self, settings: Settings, database: Database, mails: Mails, clock: Clock) -> None:
        own = settings.own(IdentitySettings)
        self._api = settings.api_address()
        self._app = own.identity_app_url
        self._product = own.identity_product
        self._tokens = LetterTokens(settings.secrets)
        self._database = database
        self._mails = mails
        self._clock = clock

    @property
    def job(self) -> Job:
        """The job of workers."""
        return Job(SEND, self.write)

    def write(self, *, user_id: str, kind: int) -> None:
        """Queue a letter to a user. Nothing for who is gone, is verified already, or got many of them lately."""
        which = Kind(kind)
        with self._database.write(Scope(user_id=user_id)) as transaction:
            user = transaction.run(USER, user_id=user_id).first()
            if user is None or (which is Kind.VERIFICATION and user["email_verify_time"] is not None):
                return
            if transaction.run(RECENT, user_id=user_id, kind=kind).value() >= MOST_AN_HOUR:
                return
            letter = LETTERS[which]
            token, hashed = self._tokens.new() if which in WITH_TOKEN else ("", None)
            transaction.queue(
                ADD,
                id=new_id(),
                user_id=user_id,
                kind=kind,
                token_hash=hashed,
                address=user["email"].lower(),
                expire_time=self._clock() + letter.lifetime,
            )
            mail = Mail(
                to=user["email"],
                subject=letter.subject,
                text=letter.body.replace("{product}", self._product).replace(
                    "{link}", link_of(which, self._app, self._api)
                ),
                secret=token,
                user_id=user_id,
                lifetime=letter.lifetime,
            )
            self._mails.add(transaction, mail)


def link_of(kind: Kind, app: str | None, api: str) -> str:
    """What a letter leads to: a page of the front end, or else the API itself. The queue fills in the token."""
    if kind not in WITH_TOKEN:
        return ""
    page, call = _PLACES[kind]
    return f"{app}{page}{SECRET_PLACE}" if app else f"{call.format(api=api)}{SECRET_PLACE}"
