"""The commands of the server, and the parser of all commands."""

import argparse
import faulthandler
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from plinth.client.command import main as client
from plinth.client.command.connecting import add_target
from plinth.client.command.ending import ended

from server.backup.arguments import add_backup_arguments, add_restore_arguments
from server.faults import MENDABLE, NOT_LOOKED, REFUSED, Fault
from server.metrics.files import share
from server.run import open_files
from server.settings import Settings
from server.settings_loading import SettingsRefused, current, describe, load

Command = Callable[[argparse.Namespace, Settings], int]
if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else
DESCRIPTION = """One multi-tenant gRPC service platform.

  run a Plinth     up, serve, realtime, worker, agents, gateway
  call a Plinth    login, call, tail, mcp, profiles, logout, completion
  look after it    migrate, seed, backup, restore, audit
  see what it is   policy, openapi, settings, new
"""
STATUSES = """exit statuses:
  0  done
  1  something has to be mended, `audit verify` found something, or an operation failed
  2  the arguments or the settings are refused
  3  PostgreSQL cannot be reached
  4  Redis cannot be reached
  5  `audit verify` could not look
  6  the server refused a call
  7  the server does not answer
  130  interrupted

Faults are told on standard error, in a line each."""
STANDARD_ERROR = 2
# Default of the seconds that `plinth migrate` waits for another migration.
MIGRATE_WAIT = 300.0


def main() -> int:
    """Run a command. Returns its exit status. A fault that a person can mend is one line on standard error."""
    if sys.stdout is None:
        # Closed by the caller. Otherwise the next file opened would become standard output.
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    if sys.stderr is not None:
        # When C code ends the process, print where Python was.
        faulthandler.enable(STANDARD_ERROR)
    return ended(_run)


def _run() -> int:
    try:
        options = parser().parse_args()
    except SystemExit:
        # The reader of the output of --help may be gone.
        sys.stdout.flush()
        raise
    try:
        settings = load(with_certificates=options.command in {_up, _gateway})
    except SettingsRefused as refused:
        sys.stderr.writelines(f"plinth: {fault}\n" for fault in refused.faults)
        return REFUSED
    command: Command = options.command
    try:
        return command(options, settings)
    except Fault as fault:
        sys.stderr.write(f"plinth: {fault}\n")
        return fault.status


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    made = argparse.ArgumentParser(
        prog="plinth",
        description=DESCRIPTION,
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    _add_processes(commands)
    client.add_commands(commands, parser)
    _accepts_agent(_add(commands, "mcp", _mcp, "give an AI agent on this machine the tools of a Plinth (stdio)"))
    _add_upkeep(commands)
    _add_descriptions(commands)
    return made


def _add_processes(commands: "_Commands") -> None:
    up = _add(commands, "up", _up, "bring the whole stack up, with embedded engines where none are set")
    up.add_argument("--verbose", action="store_true", help="show every log line, not only warnings and errors")
    _accepts_secret(up)
    serve = _add(commands, "serve", _serve, "serve unary RPCs")
    serve.add_argument("--workers", type=int, default=0, help="processes (default: the setting PLINTH_API_WORKERS)")
    realtime = _add(commands, "realtime", _realtime, "serve live streams")
    realtime.add_argument("--index", type=int, default=0, help="number of this process; names its socket")
    worker = _add(commands, "worker", _worker, "do the background work")
    worker.add_argument("--index", type=int, default=0, help="number of this process on its host; names its metrics")
    _add(commands, "agents", _agents, "answer AI agents over HTTP, for the gateway")
    gateway = _add(commands, "gateway", _gateway, "write Envoy's configuration, validate it, and print where it is")
    gateway.add_argument("--print", action="store_true", dest="show", help="print the configuration itself")


def _add_upkeep(commands: "_Commands") -> None:
    migrate = _add(commands, "migrate", _migrate, "bring the schema up to date; safe from several processes at once")
    migrate.add_argument(
        "--wait", type=float, default=MIGRATE_WAIT, metavar="SECONDS", help="how long to wait for another one that runs"
    )
    migrate.add_argument(
        "--new-epoch",
        action="store_true",
        help="after a copy of the database's disk was put back: let positions of the logs begin above the lost ones",
    )
    _accepts_secret(migrate)
    _add(commands, "seed", _seed, "make the first tenant and print its login")
    add_backup_arguments(
        _add(commands, "backup", _backup, "dump every row and the encrypted secret key, or verify such a backup")
    )
    add_restore_arguments(_add(commands, "restore", _restore, "restore a backup, then do what `plinth migrate` does"))
    _add_audit(commands)


def _add_descriptions(commands: "_Commands") -> None:
    policy = _add(
        commands, "policy", _policy, "print a row per RPC: access, permission, rate class, cache, event, chain"
    )
    _prints_json(policy)
    openapi = _add(commands, "openapi", _openapi, "print the OpenAPI document of everything that is served over REST")
    openapi.add_argument("--postman", action="store_true", help="print it as a collection of Postman (format 2.1)")
    table = _add(commands, "settings", _settings, "print every setting with its default")
    _prints_json(table)
    form = table.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="as the table of docs/settings.md")
    form.add_argument(
        "--current", action="store_true", help="the values in force, with where each comes from; secrets are hidden"
    )
    _accepts_new(_add(commands, "new", _new, "write the files of a new resource, in a clone of Plinth"))


def _add_audit(commands: "_Commands") -> None:
    audit = commands.add_parser("audit", help="verify the audit log").add_subparsers(required=True, metavar="COMMAND")
    verify = _add(audit, "verify", _audit_verify, "name what is not as it was sealed; exits with 1 if anything is not")
    _prints_json(verify)
    verify.add_argument("--tenant", action="append", default=[], help="only the log of this tenant; may be repeated")
    verify.add_argument(
        "--checkpoint-file",
        action="append",
        default=[],
        type=Path,
        help="a checkpoint that was saved before, which the log has to go on from; may be repeated",
    )


def _prints_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def _accepts_agent(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("--url", help="the address of the Plinth, with an API key instead of a profile")
    parser.add_argument("--api-key-file", type=Path, help="a file with the API key that the agent uses")
    parser.add_argument("--write", action="store_true", help="also give tools that change something")
    parser.add_argument("--groups", default="", help="give the tools of these groups directly: sites,travel")


def _accepts_secret(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--accept-new-secret",
        action="store_true",
        help="go on though the database was filled under another secret, and say what is lost with that one",
    )


def _accepts_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("resource", help="such as fleet.Vehicle")
    parser.add_argument(
        "fields",
        nargs="+",
        metavar="name:type[!][?unique]",
        help="`!`: required; types: text, int, bool, time, date, enum, uuid, ref(domain.Resource), json, texts, money",
    )
    parser.add_argument("--plural", default="", help="where the rule gives a wrong one: `stories`")


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: Command, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, epilog=STATUSES)
    parser.set_defaults(command=run)
    return parser


def _up(options: argparse.Namespace, settings: Settings) -> int:
    from server.embedded.up import up

    return up(settings, verbose=options.verbose, accept_new_secret=options.accept_new_secret)


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    _prepare(settings)
    from server.embedded.children import Role
    from server.embedded.logs import Console
    from server.embedded.supervisor import supervise
    from server.run import processes

    count = options.workers or settings.api_workers
    roles = [Role(name=f"api-{index}", run=processes.api(settings, index)) for index in range(count)]
    processes.settle_before_fork()
    return supervise(roles, Console(sys.stdout))


def _prepare(settings: Settings) -> None:
    """Prepare the environment of a serving process. Raises Fault if Redis or the canary refuses this process."""
    share(settings.metrics_dir)
    from server.run import canary, preflight

    canary.check(settings)

    open_files.raise_limit()
    # A Redis that does not answer may return; one that refuses will keep refusing.
    preflight.check_redis(settings, must_answer=False)
    settings.socket_dir.mkdir(parents=True, exist_ok=True)


def _realtime(options: argparse.Namespace, settings: Settings) -> int:
    _prepare(settings)
    from server.run import processes

    processes.realtime(settings, options.index)(lambda: None)
    return 0


def _worker(options: argparse.Namespace, settings: Settings) -> int:
    _prepare(settings)
    from server.run import processes

    processes.run_worker(settings, options.index, lambda: None)
    return 0


def _agents(_: argparse.Namespace, settings: Settings) -> int:
    _prepare(settings)
    from server.run import processes

    processes.run_agents(settings, lambda: None)
    return 0


def _mcp(options: argparse.Namespace, _: Settings) -> int:
    from server.run import agent_tools

    return agent_tools.run(options)


def _migrate(options: argparse.Namespace, settings: Settings) -> int:
    from server.run import processes

    def tell(line: str) -> None:
        sys.stderr.write(f"plinth: {line}\n")

    processes.migrate(settings, options.wait, tell, accept_new_secret=options.accept_new_secret)
    if options.new_epoch:
        processes.begin_epoch(settings)
    return 0


def _backup(options: argparse.Namespace, settings: Settings) -> int:
    from server.backup import command

    return command.backup(options, settings)


def _restore(options: argparse.Namespace, settings: Settings) -> int:
    from server.backup import command

    return command.restore(options, settings)


def _seed(_: argparse.Namespace, settings: Settings) -> int:
    from server.run import processes

    seeded = processes.seed(settings)
    if seeded.advice:
        raise Fault(seeded.advice)
    login = {"email": seeded.email, "password": seeded.password, "tenant_id": seeded.tenant_id, "people": seeded.people}
    sys.stdout.write(json.dumps(login, indent=2) + "\n")
    return 0


def _gateway(options: argparse.Namespace, settings: Settings) -> int:
    from server.app import reference
    from server.embedded.faults import Fault
    from server.gateway import render
    from server.gateway.errors import GatewayConfigurationError

    try:
        path = render.write(settings, static=reference().site())
    except (Fault, GatewayConfigurationError) as error:
        sys.stderr.write(f"plinth: {error}\n")
        return 1
    sys.stdout.write(Path(path).read_text() if options.show else f"{path}\n")
    return 0


def _policy(options: argparse.Namespace, settings: Settings) -> int:
    from server.policy_table import rows

    lines = rows(settings)
    if options.json:
        _print_json([dict(zip(lines[0], line, strict=True)) for line in lines[1:]])
        return 0
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(f"{text.rstrip()}\n")
    return 0


def _openapi(options: argparse.Namespace, settings: Settings) -> int:
    del settings
    from server.app import reference

    made = reference().postman() if options.postman else reference().openapi()
    sys.stdout.write(f"{made.decode()}\n")
    return 0


def _audit_verify(options: argparse.Namespace, settings: Settings) -> int:
    from server.run import audit_log

    try:
        tenants = [str(UUID(tenant)) for tenant in options.tenant]
        notes = [path.read_text() for path in options.checkpoint_file]
        audit_log.check_notes(notes)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"plinth: {error}\n")
        return REFUSED
    lines: list[str] = []
    tell: Callable[[str], object] = lines.append if options.json else lambda line: sys.stdout.write(f"{line}\n")
    try:
        is_right = audit_log.verify(settings, tenants, notes, tell)
    except Fault as fault:
        # A failed check must not be mistaken for a broken seal.
        status = NOT_LOOKED if fault.status == MENDABLE else fault.status
        raise Fault(str(fault), status) from fault
    if options.json:
        _print_json({"isRight": is_right, "findings": lines[:-1], "summary": lines[-1]})
    return 0 if is_right else MENDABLE


def _new(options: argparse.Namespace, _: Settings) -> int:
    from server.scaffold.write import new

    sys.stdout.writelines(f"{path}\n" for path in new(options.resource, options.fields, options.plural))
    return 0


def _settings(options: argparse.Namespace, settings: Settings) -> int:
    if options.json:
        return _settings_as_json(settings, is_current=options.current)
    if options.current:
        sys.stdout.writelines(f"{each.variable}={each.value}  # {each.source}\n" for each in current(settings))
        return 0
    rows = describe()
    if options.markdown:
        sys.stdout.write("| variable | default | meaning |\n|---|---|---|\n")
    for variable, default, meaning in rows:
        line = f"| `{variable}` | {f'`{default}`' if default else ''} | {meaning} |" if options.markdown else ""
        sys.stdout.write(f"{line or f'{variable}={default}  # {meaning}'}\n")
    return 0


def _settings_as_json(settings: Settings, *, is_current: bool) -> int:
    if is_current:
        _print_json(
            [{"variable": each.variable, "value": each.value, "source": each.source} for each in current(settings)]
        )
    else:
        _print_json(
            [{"variable": name, "default": default, "meaning": meaning} for name, default, meaning in describe()]
        )
    return 0
