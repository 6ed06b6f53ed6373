"""Tokens of people and programs: what they may ask of the scheduler."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from agent.cli.cluster import Action, add_actions, run_action
from agent.compute.client import Client, path_of

ROLES = ("reader", "operator")
"""A host's is made by ``cellwright host token``."""


def configure(parser: ArgumentParser) -> None:
    """The actions of ``cellwright token``."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Do the chosen action."""
    return run_action(args, ACTIONS)


def _create_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="whose it is")
    parser.add_argument(
        "--role", choices=ROLES, required=True, help="a reader lists and shows, metrics too; an operator changes things"
    )


def _create(client: Client, args: Namespace) -> int:
    print(client.call("POST", path_of("tokens"), {"role": args.role, "subject": args.name})["token"])
    return 0


ACTIONS = {
    "create": Action(
        "make a token and print it, this once; the older one of that name and role ends", _create_options, _create
    ),
}
