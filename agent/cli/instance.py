"""Instances: guests the scheduler places on its hosts."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from agent.cli.cluster import Action, add_actions, delete_each, properties, run_action
from agent.cli.connect import say
from agent.cli.rows import add_format_options, add_list_options, print_one, print_rows
from agent.compute.client import Client, path_of
from agent.core.errors import BadInput

COLUMNS = ("id", "name", "status", "host", "zone")
FAILED = 3


def configure(parser: ArgumentParser) -> None:
    """The actions of ``cellwright instance``."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Do the chosen action."""
    return run_action(args, ACTIONS)


def _list_options(parser: ArgumentParser) -> None:
    parser.add_argument("--host", help="only those on this host")
    parser.add_argument("--project", help="only this project's")
    add_list_options(parser)


def _list(client: Client, args: Namespace) -> int:
    rows = client.call("GET", path_of("instances"))
    wanted = [r for r in rows if args.host in (None, r["host"]) and args.project in (None, r["project"])]
    print_rows(wanted, args, columns=COLUMNS)
    return 0


def _named(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="INSTANCE", help="its id, or its name where only one has it")
    add_format_options(parser)


def _show(client: Client, args: Namespace) -> int:
    print_one(client.call("GET", path_of("instances", args.name)), args)
    return 0


def add_request_options(parser: ArgumentParser) -> None:
    """What a new instance may ask for."""
    parser.add_argument("--flavor", required=True, metavar="FLAVOR")
    parser.add_argument("--image", default="", metavar="NAME", help="the image's name")
    parser.add_argument("--image-property", action="append", metavar="KEY=VALUE")
    parser.add_argument("--availability-zone", metavar="ZONE[:HOST]")
    parser.add_argument(
        "--hint",
        action="append",
        metavar="KEY=VALUE",
        help="group=G, same_host=ID, different_host=ID (repeatable, names do too), query=JSON",
    )
    parser.add_argument("--ignore-host", action="append", default=[], metavar="HOST")
    parser.add_argument("--project", default="", help="whose quota it counts against")
    parser.add_argument("--region", help="whose scheduler should place it")


def _create_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    add_request_options(parser)
    parser.add_argument(
        "--max",
        "--count",
        dest="count",
        type=int,
        metavar="N",
        help="make N, NAME-1 to NAME-N; those that do not fit are kept in ERROR",
    )
    parser.add_argument(
        "--min", type=int, metavar="N", help="put none on a host unless at least N fit; exit 0 when so many do"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be decided, and claim nothing")
    add_format_options(parser)


def new_instance(args: Namespace, name: str) -> dict[str, Any]:
    """The request as the API takes it; a hint given twice is a list."""
    hints: dict[str, Any] = {}
    for word in args.hint or ():
        for key, value in properties([word], option="--hint").items():
            old = hints.get(key)
            hints[key] = value if old is None else [*old, value] if isinstance(old, list) else [old, value]
    return {
        "name": name,
        "flavor": args.flavor,
        "image": {"name": args.image, "properties": properties(args.image_property, option="--image-property")},
        "availability_zone": args.availability_zone,
        "hints": hints,
        "ignore_hosts": args.ignore_host,
        "project": args.project,
        "region": args.region,
    }


def _create(client: Client, args: Namespace) -> int:
    if args.dry_run:
        decision = client.call("POST", path_of("instances", "explain"), new_instance(args, args.name))
        _print_decision(decision, args)
        return FAILED if decision["placement"] is None else 0
    least = 1 if args.min is None else args.min
    count = least if args.count is None else args.count
    if not 1 <= least <= count:
        raise BadInput(f"--min {least} and --max {count}; allowed: 1 or more, --max no less than --min")
    wanted = {**new_instance(args, args.name), "count": count, "min_count": least}
    made = client.call("POST", path_of("instances"), wanted)
    if count == 1:
        print_one(made[0], args)
    else:
        print_rows(made, args, columns=COLUMNS)
        _say_what_is_missing(made, count)
    placed = sum(row["host"] is not None for row in made)
    return FAILED if placed < (len(made) if args.min is None else least) else 0


def _say_what_is_missing(made: list[dict[str, Any]], count: int) -> None:
    """On stderr: how many the quota left out, and each reason why others are on no host."""
    if len(made) < count:
        say(f"{count - len(made)} of {count} are not made: the project's quota leaves no more")
    for reason in dict.fromkeys(row["reason"] for row in made if row["host"] is None):
        names = [row["name"] for row in made if row["host"] is None and row["reason"] == reason]
        say(f"{', '.join(names[:3])}{' …' * (len(names) > 3)}: {reason}")


def _explain(client: Client, args: Namespace) -> int:
    _print_decision(client.call("GET", path_of("instances", args.name, "decision")), args)
    return 0


def _print_decision(decision: dict[str, Any], args: Namespace) -> None:
    from agent.picture.decision import render_decision

    if args.format == "table":
        print(render_decision(decision))
    else:
        print_one(decision, args)


def _move_options(parser: ArgumentParser) -> None:
    _named(parser)
    parser.add_argument("--host", help="to this host, if it passes the filters")


def _move(client: Client, args: Namespace) -> int:
    print_one(client.call("POST", path_of("instances", args.name, args.action), {"host": args.host}), args)
    return 0


def _resize_options(parser: ArgumentParser) -> None:
    _named(parser)
    parser.add_argument("--flavor", required=True)


def _resize(client: Client, args: Namespace) -> int:
    print_one(client.call("POST", path_of("instances", args.name, "resize"), {"flavor": args.flavor}), args)
    return 0


def _rebuild_options(parser: ArgumentParser) -> None:
    _named(parser)
    parser.add_argument("--image", default="", metavar="NAME")
    parser.add_argument("--image-property", action="append", metavar="KEY=VALUE")


def _rebuild(client: Client, args: Namespace) -> int:
    body: dict[str, Any] = {}
    if args.image or args.image_property:
        body["image"] = {"name": args.image, "properties": properties(args.image_property, option="--image-property")}
    print_one(client.call("POST", path_of("instances", args.name, "rebuild"), body), args)
    return 0


ACTIONS = {
    "list": Action("all instances", _list_options, _list),
    "show": Action("one instance with its request and placement", _named, _show),
    "create": Action("place a new instance; exit 3 when it fits nowhere", _create_options, _create),
    "explain": Action("how an instance came to where it is, or why nowhere", _named, _explain),
    "migrate": Action("place it on another host; it begins there once it is gone from its own", _move_options, _move),
    "evacuate": Action("place it on another host at once, because its own is lost", _move_options, _move),
    "resize": Action("give it another flavor", _resize_options, _resize),
    "rebuild": Action("give it another image, or its own again, in place", _rebuild_options, _rebuild),
    "delete": delete_each("instance", "take instances away", plural="instances"),
}
