"""Loading of settings: strict, so that a misspelt setting does not silently run with a default.

Faults are reported in lines, each with the variable, where it was set, its value, and what is allowed.
"""

import os
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import get_args

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from server import domains
from server.kernel.guard.limits import DEFAULT_RATES, default_rates
from server.setting_values import decode, nearest, split, suggestion
from server.settings import ENV_FILE, PREFIX, Contradictions, DomainSettings, Settings, shown, variables

ENVIRONMENT = "environment"
HIDDEN = "**********"
# Characters of a value that a line shows.
LONGEST_SHOWN = 200
USER = re.compile(r"//[^/\s]*@")
# Settings that name rate classes, and the function that parses each.
OF_CLASSES: dict[str, Callable[[str], Iterable[str]]] = {"rate_limits": decode, "rate_limits_strict": split}


def _with_domains() -> type[Settings]:
    """The settings, combined with those of every domain's `settings.py`, which needs no other part of the domain."""
    places = sorted(str(file.parent.name) for file in Path(domains.__path__[0]).glob("*/settings.py"))
    modules = [import_module(f"{domains.__name__}.{place}.settings") for place in places]
    kinds = [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, DomainSettings) and kind.__module__ == module.__name__
    ]
    return type("EverySetting", (*kinds, Settings), {"__module__": __name__})


EVERY_SETTING = _with_domains()


class SettingsRefused(Exception):
    """The settings are faulty. Each of `faults` is a line."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


# What the commands of the client are told (plinth/client/command/connecting.py).
CLIENT = f"{PREFIX}CLIENT_"


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was set."""

    variable: str
    text: str
    source: str
    """`environment`, or the path of the file."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in force."""

    variable: str
    value: str
    """As in the environment; a secret as asterisks."""
    source: str
    """`default`, `environment`, or the path of the file."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Variables in one place, by their names in capitals, because names are matched ignoring case."""

    name: str
    values: Mapping[str, str]


def load(*, with_certificates: bool = False) -> Settings:
    """The settings in force; `with_certificates` for the gateway, which reads them. Raises SettingsRefused."""
    sources, faults = _sources()
    given = _given(sources)
    settings, more = _validated(given)
    faults += [*_unknown_names(sources), *more, *_unknown_classes(given)]
    if settings is not None and with_certificates:
        faults += _certificate_faults(settings, given)
    if settings is None or faults:
        raise SettingsRefused(faults)
    return settings


def current(settings: Settings) -> Iterator[Setting]:
    """Every setting in force, with its source, in the order of the class."""
    given = _given(_sources()[0])
    for name, field in EVERY_SETTING.model_fields.items():
        found = given.get(name)
        variable = found.variable if found else variables(name, field)[0]
        value = getattr(settings, name)
        if name == "rate_limits":
            value = {**default_rates(settings.environment), **settings.rate_limits}
        text = HIDDEN if isinstance(value, SecretStr) else shown(value)
        yield Setting(variable, text, found.source if found else "default")


def describe() -> list[tuple[str, str, str]]:
    """Environment variable, default and description of every setting, in the order of the class."""
    return [
        (variables(name, field)[0], shown(field.default), field.description or "")
        for name, field in EVERY_SETTING.model_fields.items()
    ]


# Where settings are set --------------------------------------------------------------------------------------------


def _sources() -> tuple[list[_Source], list[str]]:
    """The environment, then the file, which has lower precedence; and the lines of the file that cannot be read."""
    values, faults = _read(Path(ENV_FILE))
    environment = _Source(ENVIRONMENT, {name.upper(): value for name, value in os.environ.items()})
    return [environment, _Source(str(Path(ENV_FILE).absolute()), values)], faults


def _read(path: Path) -> tuple[dict[str, str], list[str]]:
    """The variables of a file, and the lines that cannot be read."""
    if not path.exists():
        return {}, []
    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeError) as error:
        return {}, [f"{path.absolute()} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"]
    # The line is not shown, because it may contain a secret.
    faults = [
        f"{path.absolute()}, line {binding.original.line}: cannot be read; allowed is NAME=value"
        for binding in bindings
        if binding.error or (binding.value is None and _is_ours(str(binding.key).upper()))
    ]
    if faults:
        return {binding.key.upper(): binding.value for binding in bindings if binding.key and binding.value}, faults
    values = dotenv_values(path, encoding="utf-8-sig")
    return {name.upper(): value for name, value in values.items() if value is not None}, []


def _given(sources: Iterable[_Source]) -> dict[str, Given]:
    """The given values by the names of the settings. The environment takes precedence over the file."""
    found: dict[str, Given] = {}
    for source in sources:
        for name, field in EVERY_SETTING.model_fields.items():
            variable = next((each for each in variables(name, field) if each in source.values), None)
            if variable and name not in found:
                found[name] = Given(variable, source.values[variable], source.name)
    return found


# Faults ------------------------------------------------------------------------------------------------------------


def _known() -> dict[str, str]:
    """Every variable by its name without the prefix, which would make all names similar."""
    names = [each for name, field in EVERY_SETTING.model_fields.items() for each in variables(name, field)]
    return {name.removeprefix(PREFIX): name for name in reversed(names)}


def _is_ours(variable: str) -> bool:
    return variable.startswith(PREFIX) or variable in _known().values()


def _unknown_names(sources: Iterable[_Source]) -> Iterator[str]:
    known = _known()
    accepted = {each for name, field in EVERY_SETTING.model_fields.items() for each in variables(name, field)}
    for source in sources:
        for variable in sorted(source.values):
            if variable.startswith(PREFIX) and not variable.startswith(CLIENT) and variable not in accepted:
                # The value is not shown, because it may be a secret.
                meant = nearest(variable.removeprefix(PREFIX), known)
                hint = suggestion(known[meant]) if meant else "; `plinth settings` lists all"
                yield f"{variable} ({source.name}): there is no such setting{hint}"


def _validated(given: Mapping[str, Given]) -> tuple[Settings | None, list[str]]:
    """The settings, and the faults of the given values."""
    try:
        settings = _settings(given)
    except ValidationError as error:
        faults = error.errors()
    else:
        return settings, []
    lines = [line for fault in faults for line in _lines(fault, given)]
    faulty = {_name_of(fault) for fault in faults} - {""}
    if faulty:
        # Further contradictions show once all values can be read; a default replaces each faulty value.
        _, more = _validated({name: each for name, each in given.items() if name not in faulty})
        lines += [line for line in more if not any(given[name].variable in line for name in faulty)]
    return None, lines


def _settings(given: Mapping[str, Given]) -> Settings:
    values: dict[str, object] = {}
    for name, field in EVERY_SETTING.model_fields.items():
        # A value for each, because pydantic would look for missing ones itself.
        key = variables(name, field)[0] if field.validation_alias else name
        values[key] = given[name].text if name in given else field.get_default()
    # The class is built at run time.
    make: Callable[..., Settings] = EVERY_SETTING
    return make(**values, _env_file=None)


def _name_of(fault: ErrorDetails) -> str:
    """The setting of a fault; empty for a fault of several settings."""
    key = str(fault["loc"][0]) if fault["loc"] else ""
    return next(
        (name for name, field in EVERY_SETTING.model_fields.items() if key in {name, *variables(name, field)}), ""
    )


def _lines(fault: ErrorDetails, given: Mapping[str, Given]) -> Iterator[str]:
    reason = fault.get("ctx", {}).get("error")
    if isinstance(reason, Contradictions):
        yield from (_with_source(line, given) for line in reason.faults)
        return
    name = _name_of(fault)
    field = EVERY_SETTING.model_fields[name]
    allowed = str(reason) if isinstance(reason, ValueError) else _allowed(field)
    value = HIDDEN if _is_secret(field) else _one_line(str(fault["input"]))
    # For a rate, the class. Members of a list are clear by themselves.
    part = next((f"{each}: " for each in fault["loc"][1:] if isinstance(each, str) and name == "rate_limits"), "")
    yield _refusal(given[name], value, allowed, part)


def _refusal(given: Given, value: str, allowed: str, part: str = "") -> str:
    return f"{given.variable} ({given.source}): {part}`{value}` is refused; allowed is {allowed}"


def _with_source(line: str, given: Mapping[str, Given]) -> str:
    """A contradiction, with the source of its variable."""
    variable, mark, rest = line.partition(":")
    found = next((each for each in given.values() if each.variable == variable), None)
    return f"{variable} ({found.source}){mark}{rest}" if found else line


def _unknown_classes(given: Mapping[str, Given]) -> Iterator[str]:
    """Unknown rate classes. Every class that a policy names has a default rate (test_rate_classes.py)."""
    allowed = f"a rate class, of {', '.join(sorted(DEFAULT_RATES))}"
    for name, read in OF_CLASSES.items():
        if name in given:
            # A value that is no list is already refused.
            with suppress(ValueError):
                for each in read(given[name].text):
                    if each not in DEFAULT_RATES:
                        meant = suggestion(nearest(each, DEFAULT_RATES))
                        yield _refusal(given[name], _one_line(each), f"{allowed}{meant}")


def _certificate_faults(settings: Settings, given: Mapping[str, Given]) -> Iterator[str]:
    """Faults of the gateway's certificate files."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return
    faults = []
    for name, path in (("tls_certificate", settings.tls_certificate), ("tls_key", settings.tls_key)):
        if not (path.is_file() and os.access(path, os.R_OK)):
            faults.append(_refusal(given[name], _one_line(str(path)), "a PEM file that can be read"))
    yield from faults
    if not faults:
        try:
            # Without the function, OpenSSL would ask on the terminal for the password of an encrypted key.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_certificate, settings.tls_key, str)
        except ssl.SSLError:
            allowed = "a PEM chain whose private key is in PLINTH_TLS_KEY, without a password"
            yield _refusal(given["tls_certificate"], _one_line(str(settings.tls_certificate)), allowed)


def _allowed(field: FieldInfo) -> str:
    """The values that pydantic's own types allow, in words."""
    kind = next((each for each in (bool, int, float) if each in {field.annotation, *get_args(field.annotation)}), str)
    if kind is bool:
        return "true or false"
    bounds = {
        sign: getattr(each, sign) for each in field.metadata for sign in ("ge", "le", "gt") if hasattr(each, sign)
    }
    words = {int: "a whole number", float: "a number"}.get(kind, "text")
    match bounds:
        case {"ge": least, "le": most}:
            return f"{words} from {least} to {most}"
        case {"ge": least}:
            return f"{words} of at least {least}"
        case {"gt": least}:
            return f"{words} above {least}"
    return words


def _is_secret(field: FieldInfo) -> bool:
    return any(SecretStr in {each, *get_args(each)} for each in get_args(field.annotation))


def _one_line(text: str) -> str:
    """A value in one line, shortened, without the user and password of a URL."""
    plain = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in USER.sub("//***@", text))
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[:LONGEST_SHOWN]}..."
