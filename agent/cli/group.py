"""Server groups: instances that belong together, or apart."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from agent.cli.cluster import Action, add_actions, delete_each, properties, run_action
from agent.cli.rows import add_format_options, add_list_options, print_one, print_rows
from agent.compute.client import Client, path_of
from agent.core.errors import BadInput

POLICIES = ("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")


def configure(parser: ArgumentParser) -> None:
    """The actions of ``cellwright group``."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Do the chosen action."""
    return run_action(args, ACTIONS)


def _list(client: Client, args: Namespace) -> int:
    rows = client.call("GET", path_of("groups"))
    print_rows(rows, args, columns=("name", "policy", "max_server_per_host", "members"))
    return 0


def _named(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="GROUP")
    add_format_options(parser)


def _show(client: Client, args: Namespace) -> int:
    print_one(client.call("GET", path_of("groups", args.name)), args)
    return 0


def _create_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--policy", choices=POLICIES, default="affinity", help="default: affinity")
    parser.add_argument("--rule", action="append", metavar="max_server_per_host=N", help="for anti-affinity")
    add_format_options(parser)


def _create(client: Client, args: Namespace) -> int:
    rules = properties(args.rule, option="--rule")
    most = rules.pop("max_server_per_host", "1")
    if rules or not most.isdecimal():
        raise BadInput(f"--rule {next(iter(rules), most)!r}; allowed: max_server_per_host=N")
    body = {"name": args.name, "policy": args.policy, "max_server_per_host": int(most)}
    print_one(client.call("POST", path_of("groups"), body), args)
    return 0


ACTIONS = {
    "list": Action("all server groups", add_list_options, _list),
    "show": Action("one server group with its members", _named, _show),
    "create": Action("make a server group", _create_options, _create),
    "delete": delete_each("group", "forget server groups without members", plural="groups"),
}
