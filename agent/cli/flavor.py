"""Flavors: sizes and extra specs that instances are made with."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from agent.cli.cluster import Action, add_actions, delete_each, properties, run_action
from agent.cli.rows import add_format_options, add_list_options, print_one, print_rows
from agent.compute.client import Client, path_of


def configure(parser: ArgumentParser) -> None:
    """The actions of ``cellwright flavor``."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Do the chosen action."""
    return run_action(args, ACTIONS)


def _print(flavor: dict[str, Any], args: Namespace) -> None:
    print_one({"name": flavor["name"], **flavor}, args)


def _list(client: Client, args: Namespace) -> int:
    rows = client.call("GET", path_of("flavors"))
    print_rows(rows, args, columns=("name", "vcpus", "ram_mb", "disk_gb", "extra_specs"))
    return 0


def _named(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="FLAVOR")
    add_format_options(parser)


def _show(client: Client, args: Namespace) -> int:
    _print(client.call("GET", path_of("flavors", args.name)), args)
    return 0


def _create_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--vcpus", type=int, default=1, help="default: 1")
    parser.add_argument("--ram", type=int, default=256, metavar="MB", help="memory, MiB; default: 256")
    parser.add_argument("--disk", type=int, default=0, metavar="GB", help="root disk, GiB; default: 0")
    parser.add_argument("--ephemeral", type=int, default=0, metavar="GB", help="ephemeral disk, GiB; default: 0")
    parser.add_argument("--swap", type=int, default=0, metavar="MB", help="swap, MiB; default: 0")
    parser.add_argument("--property", action="append", metavar="KEY=VALUE", help="an extra spec")
    add_format_options(parser)


def _create(client: Client, args: Namespace) -> int:
    body = {
        "name": args.name,
        "vcpus": args.vcpus,
        "ram_mb": args.ram,
        "disk_gb": args.disk,
        "ephemeral_gb": args.ephemeral,
        "swap_mb": args.swap,
        "extra_specs": properties(args.property),
    }
    _print(client.call("POST", path_of("flavors"), body), args)
    return 0


def _change_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="FLAVOR")
    parser.add_argument("--property", action="append", required=True, metavar="KEY=VALUE", help="KEY for unset")
    add_format_options(parser)


def _set(client: Client, args: Namespace) -> int:
    body = {"properties": properties(args.property)}
    _print(client.call("PATCH", path_of("flavors", args.name), body), args)
    return 0


def _unset(client: Client, args: Namespace) -> int:
    body = {"properties": dict.fromkeys(args.property)}
    _print(client.call("PATCH", path_of("flavors", args.name), body), args)
    return 0


ACTIONS = {
    "list": Action("all flavors", add_list_options, _list),
    "show": Action("one flavor", _named, _show),
    "create": Action("make a flavor", _create_options, _create),
    "set": Action("set extra specs", _change_options, _set),
    "unset": Action("take extra specs away", _change_options, _unset),
    "delete": delete_each("flavor", "forget flavors", plural="flavors"),
}
