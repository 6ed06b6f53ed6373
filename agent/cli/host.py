"""Hosts of the scheduler: list, show, add one without an agent, enable, disable, delete, make an agent's token."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from agent.cli.cluster import Action, add_actions, delete_each, name_only, run_action
from agent.cli.rows import add_format_options, add_list_options, print_one, print_rows
from agent.compute.client import Client, path_of

COLUMNS = ("name", "zone", "state", "status", "cells", "pinned", "vcpus_used", "vcpus", "ram_mb_used", "ram_mb")


def configure(parser: ArgumentParser) -> None:
    """The actions of ``cellwright host``."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Do the chosen action."""
    return run_action(args, ACTIONS)


def _list(client: Client, args: Namespace) -> int:
    print_rows(client.call("GET", path_of("hosts")), args, columns=COLUMNS)
    return 0


def _show(client: Client, args: Namespace) -> int:
    print_one(client.call("GET", path_of("hosts", args.name)), args)
    return 0


def _add_options(parser: ArgumentParser) -> None:
    from agent.cli.hosts import add_host_options

    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--disk", type=int, default=1000, metavar="GB", help="disk for guests, GiB; default: 1000")
    add_host_options(parser)
    add_format_options(parser)


def _add(client: Client, args: Namespace) -> int:
    from agent.cli.hosts import load_host
    from agent.core.codec import to_tree

    body = {"name": args.name, "topology": to_tree(load_host(args)), "disk_gb": args.disk}
    print_one(client.call("POST", path_of("hosts"), body), args)
    return 0


def _disable_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="HOST")
    parser.add_argument("--reason", default="", help="shown in lists")
    add_format_options(parser)


def _enable(client: Client, args: Namespace) -> int:
    body = {"enabled": args.action == "enable", "reason": getattr(args, "reason", "")}
    print_one(client.call("PATCH", path_of("hosts", args.name), body), args)
    return 0


def _show_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="HOST")
    add_format_options(parser)


def _token(client: Client, args: Namespace) -> int:
    print(client.call("POST", path_of("tokens"), {"role": "host", "subject": args.name})["token"])
    return 0


ACTIONS = {
    "list": Action("all hosts", add_list_options, _list),
    "show": Action("one host", _show_options, _show),
    "add": Action("add a host that has no agent, for trials: what is placed there stays SCHEDULED", _add_options, _add),
    "enable": Action("let new guests onto a host", _show_options, _enable),
    "disable": Action("keep new guests off a host", _disable_options, _enable),
    "delete": delete_each(
        "host", "forget hosts without instances; what still leaves them counts as gone", plural="hosts"
    ),
    "token": Action("make a token for a host's agent; its older one ends", name_only("host"), _token),
}
