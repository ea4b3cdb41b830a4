"""The language of templates: a part of Jinja in which a template makes text, and does nothing else.

Jinja's sandbox keeps templates from reaching Python. What it lets through would still keep a process busy or fill its
memory (a loop within a loop, `"a" * 10 ** 9`), so only a part of its syntax is allowed, and what a template does is
counted while it does it.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, Undefined, UndefinedError, meta, nodes
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import pass_context

from server.json_values import JsonValue

MOST_CHARACTERS = 200_000
"""Length of what a template makes."""
MOST_WORK = 500_000
"""Nodes that loops go over, and characters that filters read, while a template is filled (decision 30)."""
MOST_NODES = 5_000
"""Largest number of nodes in a template's syntax. The parser takes 0.3 s for that many, which fill 1 MB."""
MOST_LEVELS = 50
"""Levels of a template's syntax: Python compiles no more than 100 levels of indentation."""
LOOPS_WITHIN = 2
MOST_DIGITS = 10
TESTS = ("defined", "undefined", "none", "true", "false", "string", "number", "odd", "even")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "in")
_TEXT_FILTERS = (
    "capitalize",
    "default",
    "escape",
    "first",
    "last",
    "length",
    "lower",
    "title",
    "trim",
    "truncate",
    "upper",
)
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Keyword,
    nodes.Test,
    nodes.If,
    nodes.For,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
)
_LOOP_FACTS = ("index", "index0", "first", "last", "length", "revindex")
# No value has such a name.
_WORK = " work"
_ITEMS = " items"


class TemplateFault(Exception):
    """A template is none of this language, or values do not fit it. The message says why, as the end of a sentence."""


class ParsedTemplate:
    """A template that was read."""

    def __init__(self, template: Template, variables: frozenset[str]) -> None:
        self._template = template
        self.variables = variables
        """The names of its values."""

    def fill(self, values: Mapping[str, JsonValue]) -> str:
        """What it makes of values. Raises TemplateFault."""
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate({**values, _WORK: _Work()}):
                size += len(part)
                if size > MOST_CHARACTERS:
                    raise TemplateFault(f"makes more than {MOST_CHARACTERS:,} characters")
                parts.append(part)
        except UndefinedError as error:
            raise TemplateFault(error.message or "needs a value that is not there") from error
        except (TemplateError, TypeError, ValueError, ArithmeticError, AssertionError, RecursionError) as error:
            raise TemplateFault(f"cannot be filled with these values: {error}") from error
        return "".join(parts)


class _Work:
    """Counts what a template does."""

    def __init__(self) -> None:
        self._left = MOST_WORK

    def add(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise TemplateFault("does too much: its loops go over too many items, or its filters over too much text")


class _Missing(StrictUndefined):
    @property
    def _undefined_message(self) -> str:
        return f"needs `{self._undefined_name}`, which is not among the values"


class _Environment(ImmutableSandboxedEnvironment):
    """Its attributes and items are those of values. Texts, numbers and lists have no attributes."""

    # Jinja types the names of attributes as texts, and those of items as anything.
    def getattr(self, obj: object, attribute: str) -> object:
        if isinstance(obj, LoopContext) and attribute in _LOOP_FACTS:
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: object, argument: object) -> object:
        if isinstance(obj, Undefined):
            # What is missing is told by its first name.
            return obj
        if isinstance(obj, Mapping) and isinstance(argument, str) and argument in obj:
            return obj[argument]
        if isinstance(obj, list) and type(argument) is int and -len(obj) <= argument < len(obj):
            return obj[argument]
        return self.undefined(name=str(argument))


@lru_cache(maxsize=64)
def parsed(source: str, *, escapes: bool) -> ParsedTemplate:
    """A template. `escapes`: what fills it stands escaped, as in HTML. Raises TemplateFault."""
    environment = _HTML if escapes else _TEXT
    try:
        tree = environment.parse(source)
        _refuse(tree)
        variables = frozenset(meta.find_undeclared_variables(tree))
        _count_loops(tree)
        code = environment.compile(tree)
    except TemplateSyntaxError as error:
        raise TemplateFault(f"line {error.lineno}: {error.message}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TemplateFault("is nested too deeply, or has a number of too many digits") from error
    return ParsedTemplate(Template.from_code(environment, code, {}), variables)


def _refuse(tree: nodes.Template) -> None:
    """Raise TemplateFault for syntax that is Jinja's, and not of this language."""
    for count, (node, level, loops) in enumerate(_walk(tree, 0, 0)):
        if count >= MOST_NODES:
            raise TemplateFault(f"has more than {MOST_NODES:,} expressions, conditions and loops")
        place = f"line {node.lineno}"
        if level > MOST_LEVELS:
            raise TemplateFault(f"{place}: is nested too deeply")
        if not isinstance(node, _ALLOWED):
            raise TemplateFault(f"{place}: `{type(node).__name__.lower()}` of Jinja is not allowed")
        if isinstance(node, nodes.For) and (node.recursive or loops >= LOOPS_WITHIN):
            raise TemplateFault(f"{place}: a loop within a loop has no loop within")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise TemplateFault(f"{place}: there is no filter `{node.name}`; there are {', '.join(FILTERS)}")
        if isinstance(node, nodes.Test) and node.name not in (*TESTS, *COMPARISONS):
            raise TemplateFault(f"{place}: there is no test `{node.name}`; there are {', '.join(TESTS)}")
        if isinstance(node, nodes.Filter | nodes.Test) and (node.dyn_args or node.dyn_kwargs):
            raise TemplateFault(f"{place}: `*` is not allowed")


def _walk(node: nodes.Node, level: int, loops: int) -> Iterator[tuple[nodes.Node, int, int]]:
    """Each node, with the levels and the loops around it."""
    waiting = [(node, level, loops)]
    while waiting:
        node, level, loops = waiting.pop()
        yield node, level, loops
        inside = loops + isinstance(node, nodes.For)
        waiting += [(child, level + 1, inside) for child in node.iter_child_nodes()]


def _count_loops(tree: nodes.Template) -> None:
    """Let loops go over lists alone, and count what they do: their items times the nodes within."""
    for loop in list(tree.find_all(nodes.For)):
        weight = nodes.Const(sum(1 for _ in _walk(loop, 0, 0)))
        loop.iter = nodes.Filter(loop.iter, _ITEMS, [weight], [], None, None, lineno=loop.lineno)


@pass_context
def _items(context: Context, value: object, weight: int) -> object:
    """What a loop goes over."""
    if isinstance(value, Undefined):
        # Raises UndefinedError.
        return iter(value)
    if not isinstance(value, list):
        raise TemplateFault("has a loop over something else than a list")
    _work(context).add(len(value) * weight)
    return value


def _counted(function: Callable[..., object]) -> Callable[..., object]:
    """A filter that counts the characters it reads. Jinja knows by marks what the first argument of one is."""
    needs_environment = getattr(function, "jinja_pass_arg", None) is not None

    @pass_context
    def filtered(context: Context, value: object, *options: object, **named: object) -> object:
        if isinstance(value, str | list | dict):
            _work(context).add(len(value))
        first = (context.environment, value) if needs_environment else (value,)
        return function(*first, *options, **named)

    return filtered


@pass_context
def _join(context: Context, value: object, separator: str = "") -> object:
    """Jinja's goes over the letters of a text as well."""
    if not isinstance(value, list):
        raise TemplateFault("joins something else than a list")
    parts = [_shown(each) for each in value]
    _work(context).add(sum(map(len, parts)) + len(parts) * len(separator))
    return separator.join(parts)


def _round(value: object, digits: int = 0) -> object:
    """A number with as many digits behind the point; without any, a whole number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TemplateFault("rounds something else than a number")
    if type(digits) is not int or not 0 <= digits <= MOST_DIGITS:
        raise TemplateFault(f"rounds to something else than 0 to {MOST_DIGITS} digits")
    return f"{value:.{digits}f}"


def _shown(value: object) -> str:
    """A value as text. Raises TemplateFault for what no reader can make sense of."""
    if isinstance(value, Undefined):
        # Raises UndefinedError.
        return str(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise TemplateFault("shows a list or an object: show what is in it")


def _work(context: Context) -> _Work:
    work = context.resolve(_WORK)
    if not isinstance(work, _Work):
        raise TypeError(_WORK)
    return work


FILTERS: Mapping[str, Callable[..., object]] = MappingProxyType(
    dict(
        sorted(
            ({name: _counted(JINJA_FILTERS[name]) for name in _TEXT_FILTERS} | {"join": _join, "round": _round}).items()
        )
    )
)


def _environment(*, escapes: bool) -> _Environment:
    environment = _Environment(
        autoescape=escapes, undefined=_Missing, finalize=_shown, keep_trailing_newline=True, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {**FILTERS, _ITEMS: _items}
    environment.tests = {name: JINJA_TESTS[name] for name in (*TESTS, *COMPARISONS)}
    return environment


_TEXT, _HTML = _environment(escapes=False), _environment(escapes=True)
