"""Host aggregates: named sets of hosts with metadata; one with a zone is an availability zone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from agent.cli.cluster import Action, add_actions, delete_each, properties, run_action
from agent.cli.rows import add_format_options, add_list_options, print_one, print_rows
from agent.compute.client import Client, path_of


def configure(parser: ArgumentParser) -> None:
    """The actions of ``cellwright aggregate``."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Do the chosen action."""
    return run_action(args, ACTIONS)


def _list(client: Client, args: Namespace) -> int:
    print_rows(client.call("GET", path_of("aggregates")), args, columns=("id", "name", "zone", "hosts", "properties"))
    return 0


def _named(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="AGGREGATE")
    add_format_options(parser)


def _show(client: Client, args: Namespace) -> int:
    print_one(client.call("GET", path_of("aggregates", args.name)), args)
    return 0


def _create_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--zone", metavar="ZONE", help="make it this availability zone")
    parser.add_argument("--property", action="append", metavar="KEY=VALUE")
    add_format_options(parser)


def _create(client: Client, args: Namespace) -> int:
    body = {"name": args.name, "properties": _metadata(args)}
    print_one(client.call("POST", path_of("aggregates"), body), args)
    return 0


def _set_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="AGGREGATE")
    parser.add_argument("--zone", metavar="ZONE", help="make it this availability zone")
    parser.add_argument("--property", action="append", metavar="KEY=VALUE")
    parser.add_argument("--name", dest="new_name", metavar="NAME", help="rename it")
    add_format_options(parser)


def _set(client: Client, args: Namespace) -> int:
    body = {"properties": _metadata(args), "name": args.new_name}
    print_one(client.call("PATCH", path_of("aggregates", args.name), body), args)
    return 0


def _unset_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="AGGREGATE")
    parser.add_argument("--property", action="append", metavar="KEY", required=True)
    add_format_options(parser)


def _unset(client: Client, args: Namespace) -> int:
    body = {"properties": dict.fromkeys(args.property)}
    print_one(client.call("PATCH", path_of("aggregates", args.name), body), args)
    return 0


def _host_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="AGGREGATE")
    parser.add_argument("host", metavar="HOST")
    add_format_options(parser)


def _add_host(client: Client, args: Namespace) -> int:
    print_one(client.call("PUT", path_of("aggregates", args.name, "hosts", args.host)), args)
    return 0


def _remove_host(client: Client, args: Namespace) -> int:
    client.call("DELETE", path_of("aggregates", args.name, "hosts", args.host))
    print_one(client.call("GET", path_of("aggregates", args.name)), args)
    return 0


def _metadata(args: Namespace) -> dict[str, str]:
    zone = {"availability_zone": args.zone} if args.zone else {}
    return {**properties(args.property), **zone}


ACTIONS = {
    "list": Action("all aggregates", add_list_options, _list),
    "show": Action("one aggregate", _named, _show),
    "create": Action("make an aggregate", _create_options, _create),
    "set": Action("set metadata, or rename", _set_options, _set),
    "unset": Action("take metadata away", _unset_options, _unset),
    "delete": delete_each("aggregate", "forget aggregates without hosts", plural="aggregates"),
    "add-host": Action("put a host into an aggregate", _host_options, _add_host),
    "remove-host": Action("take a host out of an aggregate", _host_options, _remove_host),
}
ACTIONS["update"] = ACTIONS["set"]
ACTIONS["set-metadata"] = ACTIONS["set"]
