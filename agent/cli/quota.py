"""Quotas: the most that a project may use."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from agent.cli.cluster import Action, add_actions, run_action
from agent.cli.rows import add_format_options, add_list_options, print_rows
from agent.compute.client import Client, path_of

COLUMNS = ("project", "resource", "most", "used")


def configure(parser: ArgumentParser) -> None:
    """The actions of ``cellwright quota``."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Do the chosen action."""
    return run_action(args, ACTIONS)


def _show_options(parser: ArgumentParser) -> None:
    parser.add_argument("project", metavar="PROJECT")
    add_format_options(parser)


def _set_options(parser: ArgumentParser) -> None:
    for resource, what in (("cores", "vCPUs"), ("ram", "memory, MiB"), ("instances", "instances")):
        parser.add_argument(f"--{resource}", type=int, metavar="N", help=f"{what}; -1 for no bound")
    _show_options(parser)


def _list(client: Client, args: Namespace) -> int:
    print_rows(client.call("GET", path_of("quotas")), args, columns=COLUMNS)
    return 0


def _show(client: Client, args: Namespace) -> int:
    print_rows(client.call("GET", path_of("quotas", args.project)), args, columns=COLUMNS)
    return 0


def _set(client: Client, args: Namespace) -> int:
    asked = {"cores": args.cores, "ram_mb": args.ram, "instances": args.instances}
    body = {"bounds": {resource: most for resource, most in asked.items() if most is not None}}
    print_rows(client.call("PUT", path_of("quotas", args.project), body), args, columns=COLUMNS)
    return 0


ACTIONS = {
    "list": Action("every project that is bounded", add_list_options, _list),
    "show": Action("a project's bounds and use", _show_options, _show),
    "set": Action("bound a project", _set_options, _set),
}
