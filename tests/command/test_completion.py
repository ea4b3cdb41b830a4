"""`plinth completion`: what a shell completes, in a real one."""

import re
import shutil
import subprocess

import pytest

from tests.command.running import Person

# What readline does when Tab is pressed, without a terminal.
COMPLETE = """
source ./completion
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
COMP_LINE="${{COMP_WORDS[*]}}"
COMP_POINT=${{#COMP_LINE}}
function=$(complete -p plinth | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(person: Person, *words: str) -> list[str]:
    """What bash offers for the last word."""
    if not (person.folder / "completion").exists():
        done = person.run("completion", "bash")
        assert done.returncode == 0, done.stderr
        (person.folder / "completion").write_text(done.stdout)
    script = COMPLETE.format(words=" ".join(f"'{word}'" for word in words))
    done_by_bash = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=person.folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done_by_bash.returncode == 0, done_by_bash.stderr
    return done_by_bash.stdout.split()


def test_bash_completes_commands_options_and_names_of_rpcs(person: Person) -> None:
    assert {"call", "completion"} <= set(completed(person, "plinth", "c"))
    assert {"up", "backup", "profiles", "tail"} <= set(completed(person, "plinth", ""))
    assert completed(person, "plinth", "call", "PageService/P") == ["PageService/PublishPage"]
    assert "--idempotency-key" in completed(person, "plinth", "call", "--i")
    assert "--write" in completed(person, "plinth", "mcp", "--")


def test_pressing_tab_starts_no_program(person: Person) -> None:
    completed(person, "plinth", "")
    script = (person.folder / "completion").read_text()
    assert "PageService/PublishPage" in script
    assert not re.search(r"\$\(\s*plinth", script)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed: apt-get install zsh")
def test_zsh_reads_its_script(person: Person) -> None:
    done = person.run("completion", "zsh")
    read = subprocess.run(["zsh", "-n"], input=done.stdout, capture_output=True, text=True, check=False, timeout=60)
    assert (read.returncode, read.stderr) == (0, "")


def test_a_client_without_the_extra_says_what_to_install(person: Person) -> None:
    (person.folder / "shtab.py").write_text("raise ImportError")
    done = person.run("completion", "bash", PYTHONPATH=str(person.folder))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "plinth: completion needs the package shtab: pip install 'plinth[command]'\n"
