"""Money: minor units of a currency, as tables store them, to google.type.Money."""

from google.type.money_pb2 import Money

USUAL_DIGITS = 2
NANO_DIGITS = 9
# Digits of the minor unit of the currencies whose number differs from 2 (ISO 4217, list one).
_DIGITS = {
    **dict.fromkeys(("CLF", "UYW"), 4),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(
        (
            *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"),
            *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
        ),
        0,
    ),
}


def minor_digits(currency: str) -> int:
    """The number of decimal digits of a currency: cents of EUR are 2, and JPY has none."""
    return _DIGITS.get(currency, USUAL_DIGITS)


def money_of(minor_units: int, currency: str) -> Money:
    """An amount as google.type.Money. Units and nanos have the same sign."""
    scale: int = 10 ** minor_digits(currency)
    units, rest = divmod(abs(minor_units), scale)
    sign = -1 if minor_units < 0 else 1
    return Money(currency_code=currency, units=sign * units, nanos=sign * rest * 10**NANO_DIGITS // scale)


def whole_units(minor_units: float, currency: str) -> float:
    """An amount in units of the currency, as near as a double is to it."""
    scale: int = 10 ** minor_digits(currency)
    return minor_units / scale
