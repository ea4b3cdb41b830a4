"""Money: google.type.Money on the wire, whole minor units with a currency everywhere else.

How many decimal places a currency has is in ISO 4217. What has none there, such as gold, is no currency to pay in.
"""

from decimal import Decimal, InvalidOperation
from functools import cache

from google.type.money_pb2 import Money

MONEY = "google.type.Money"
NANO_DIGITS = 9
NANOS = 10**NANO_DIGITS
MOST_MINOR = 10**15
"""The largest amount. Nine thousand of them add up to what a column holds, and each is exact as a double."""


class NoMoney(ValueError):
    """An amount that cannot be stored. `rule` is the id of the rule that it breaks."""

    def __init__(self, description: str, rule: str) -> None:
        self.rule = rule
        super().__init__(description)


@cache
def decimal_places() -> dict[str, int]:
    """The number of decimal places of each currency (ISO 4217), by its code."""
    # Imported here, because it takes 3 MB, which only processes that meet money need.
    from iso4217 import Currency  # noqa: PLC0415

    return {each.code: each.exponent for each in Currency if each.exponent is not None}


def minor_units(money: Money) -> int:
    """The amount in minor units of its currency. Raises NoMoney if it is not whole, or is not consistent."""
    places = _places(money.currency_code)
    if abs(money.nanos) >= NANOS or money.units * money.nanos < 0:
        raise NoMoney("has nanos of less than one unit, with the sign of its units", "money.nanos")
    part, rest = divmod(abs(money.nanos), 10 ** (NANO_DIGITS - places))
    if rest:
        raise NoMoney(f"has at most {places} decimal places in {money.currency_code}", "money.precision")
    return _bounded(money.units * 10**places + (-part if money.nanos < 0 else part))


def fill_money(money: Money, minor: int, currency: str) -> None:
    """Set an amount of minor units."""
    scale = 10 ** _places(currency)
    units, part = divmod(abs(minor), scale)
    sign = -1 if minor < 0 else 1
    money.currency_code, money.units, money.nanos = currency, sign * units, sign * part * (NANOS // scale)


def whole_units(minor: float, currency: str) -> float:
    """An amount in units of the currency, as near as a double is to it."""
    scale: int = 10 ** _places(currency)
    return minor / scale


def read_money(text: str) -> tuple[int, str]:
    """The minor units and the currency of a text such as `12.50 EUR`. Raises NoMoney."""
    amount, _, currency = text.strip().partition(" ")
    try:
        scaled = Decimal(amount).scaleb(_places(currency))
        minor = int(scaled)
    except (InvalidOperation, ValueError, OverflowError) as error:
        if isinstance(error, NoMoney):
            raise
        raise NoMoney("is an amount and a currency, such as `12.50 EUR`", "money.text") from error
    if minor != scaled:
        raise NoMoney(f"has at most {_places(currency)} decimal places in {currency}", "money.precision")
    return _bounded(minor), currency


def _places(currency: str) -> int:
    places = decimal_places().get(currency)
    if places is None:
        raise NoMoney("has a currency of ISO 4217, such as `EUR`", "money.currency")
    return places


def _bounded(minor: int) -> int:
    if abs(minor) > MOST_MINOR:
        raise NoMoney("is larger than 10,000,000,000,000.00", "money.range")
    return minor
