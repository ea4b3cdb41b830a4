"""The names of one resource in each place. Names that are shared among domains begin with the domain."""

import re
from dataclasses import dataclass
from keyword import iskeyword

from server.scaffold.fields import RESERVED, refused

RESOURCE = re.compile(r"([a-z][a-z]*)\.([A-Z][A-Za-z]*)")
WORD_START = re.compile(r"(?<!^)(?=[A-Z])")
PLURAL = re.compile(r"[a-z]+(_[a-z]+)*")


@dataclass(frozen=True)
class Names:
    """`fleet.Vehicle`, its plural `vehicles`."""

    domain: str
    name: str
    plural: str

    @property
    def singular(self) -> str:
        """`vehicle`, `fuel_card`."""
        return WORD_START.sub("_", self.name).lower()

    @property
    def table(self) -> str:
        """`fleet_vehicles`."""
        return f"{self.domain}_{self.plural}"

    def words(self) -> dict[str, str]:
        """The words for the templates."""
        camel = "".join(word.capitalize() for word in self.plural.split("_"))
        plural_words = self.plural.replace("_", " ")
        return {
            "domain": self.domain,
            "Domain": self.domain.capitalize(),
            "Name": self.name,
            "Names": camel,
            "singular": self.singular,
            "plural": self.plural,
            "words": self.singular.replace("_", " "),
            "plural_words": plural_words,
            "Plural_words": plural_words.capitalize(),
            "path": f"{self.domain}/{self.plural.replace('_', '-')}",
            "tag": self.table,
            "event": f"{self.domain}_{self.singular}",
            "resource_type": f"{self.domain}.plinth.dev/{self.name}",
            "lower_name": self.name[0].lower() + self.name[1:],
            "lower_names": camel[0].lower() + camel[1:],
            "json_plural": camel[0].lower() + camel[1:],
            "module": self.singular,
            "service_module": self.plural,
            "table": self.table,
        }


def names_of(argument: str, plural: str = "") -> Names:
    """The names of a resource. Raises Fault, which names the argument."""
    match = RESOURCE.fullmatch(argument)
    if match is None:
        raise refused(argument, "a resource is written domain.Resource, such as fleet.Vehicle, in letters only")
    domain, name = match.groups()
    bare = Names(domain, name, "")
    for word in (domain, bare.singular):
        if word in RESERVED or iskeyword(word):
            raise refused(argument, f"`{word}` is a reserved word")
    if plural and not PLURAL.fullmatch(plural):
        raise refused(f"--plural {plural}", "a plural is written in snake_case, in letters only")
    made = plural or _plural(bare.singular)
    if made in ("module", "tables", bare.singular):
        raise refused(f"--plural {plural}" if plural else argument, f"the plural cannot be `{made}`: use --plural")
    return Names(domain, name, made)


def _plural(singular: str) -> str:
    """The plural by rule: `boxes`, `entries`, `vehicles`."""
    if singular.endswith(("s", "x", "z", "ch", "sh")):
        return f"{singular}es"
    if singular.endswith("y") and singular[-2:-1] not in tuple("aeiou"):
        return f"{singular[:-1]}ies"
    return f"{singular}s"
