"""The package of clients/typescript: what it weighs, what it holds, its own tests, and its quick start."""

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients_typescript import building
from tests.clients_typescript.building import ROOT, Built
from tests.stack import Stack

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(building.missing()), reason=building.missing()),
]
LARGEST = 30_000
# What Plinth grows to.
OPERATIONS = 600
README = building.ROOT / building.CLIENT / "README.md"
EXAMPLE = re.compile(r"```(?:js|ts)\n(.*?)```", re.DOTALL)
# What the examples of the README take for granted: the quick start's client, and Node's variables of the environment.
AMBIENT = "declare const process: { env: Record<string, string> };\n"
# As a front end has it.
COMPILER = {
    "noEmit": True,
    "strict": True,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2022", "dom"],
    "types": [],
}
WRONG = [
    ('await plinth.pages.create({ body: { slug: "x", titel: "x" } });', "titel"),
    ("await plinth.pages.get({});", "pageId"),
    ("await plinth.tenants.delete({});", "tenantId"),
    ('const page = await plinth.pages.get({ pageId: "x" }); page.status === "PUBLISHED";', "no overlap"),
    ('for await (const event of plinth.events(["page.*"])) event.type === "trip.created";', "no overlap"),
    ('plinth.events(["pgae.*"]);', "pgae"),
]


def weight(text: bytes) -> int:
    return len(gzip.compress(text, 9))


def test_its_own_tests_pass(client: Built) -> None:
    assert "# fail 0" in building.npm(client.folder, "test")


def test_it_stays_light(client: Built) -> None:
    whole = weight(client.bundle.read_bytes())
    table = (client.folder / "dist" / "generated" / "table.js").read_bytes()
    count = table.count(b'"/api/')
    assert count > 100
    assert whole < LARGEST
    # The table is all that grows with the operations, and it grows less than they do.
    assert whole + weight(table) * (OPERATIONS - count) / count < LARGEST


def test_what_is_published_is_complete_and_depends_on_nothing(client: Built, project: Path) -> None:
    installed = project / "node_modules" / "@plinth" / "client"
    assert {path.name for path in installed.iterdir()} == {"LICENSE", "README.md", "dist", "package.json"}
    assert [path.name for path in (project / "node_modules").iterdir() if not path.name.startswith(".")] == ["@plinth"]
    facts = json.loads((installed / "package.json").read_text())
    assert facts["version"] == re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]
    assert facts["//devDependencies"].keys() == facts["devDependencies"].keys()
    for entry in facts["exports"].values():
        assert all((installed / file).is_file() for file in entry.values())
    assert client.bundle.read_bytes() == (installed / "dist" / "plinth.min.js").read_bytes()


def test_the_quick_start_runs_as_it_stands(project: Path, stack: Stack) -> None:
    (project / "quickstart.mjs").write_text(EXAMPLE.findall(README.read_text())[0])
    login = {"PLINTH_URL": stack.url, "PLINTH_EMAIL": stack.email, "PLINTH_PASSWORD": stack.password}
    printed = building.node(project, "quickstart.mjs", environment=login).splitlines()
    assert "now published" in printed
    assert "refused title" in printed
    assert any(line.startswith("listed hello-") for line in printed)


def test_every_example_of_the_readme_has_the_right_types(client: Built, project: Path) -> None:
    first, *others = EXAMPLE.findall(README.read_text())
    start = first.partition("const live")[0]
    examples = {
        f"example-{number}.ts": AMBIENT + example for number, example in enumerate((first, *map(start.__add__, others)))
    }
    assert compiled(client, project, examples) == ""


def test_the_compiler_finds_what_is_wrong(client: Built, project: Path) -> None:
    start = 'import { Plinth } from "@plinth/client";\nconst plinth = new Plinth({ baseUrl: "" });\n'
    found = compiled(client, project, {f"wrong-{number}.ts": start + line for number, (line, _) in enumerate(WRONG)})
    # Each begins at the start of a line, and goes on in lines that are indented.
    faults = re.findall(r"^wrong-(\d+)\.ts\(3,\d+\): error (.*(?:\n .*)*)", found, re.MULTILINE)
    assert [int(number) for number, _ in faults] == list(range(len(WRONG))), found
    for (_, text), (_, fault) in zip(faults, WRONG, strict=True):
        assert fault in text


def compiled(client: Built, project: Path, sources: dict[str, str]) -> str:
    """What the compiler says of these files in a project that uses the client."""
    for name, text in sources.items():
        (project / name).write_text(text)
    (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER, "files": list(sources)}))
    compiler = client.folder / "node_modules" / "typescript" / "bin" / "tsc"
    command = [str(building.NODE), str(compiler), "--pretty", "false", "-p", str(project)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=building.PATIENCE)
    return done.stdout + done.stderr
