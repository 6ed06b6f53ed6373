"""What all cluster verbs share: the scheduler's address and token, actions with their own options, KEY=VALUE words."""

from __future__ import annotations

import os
from argparse import SUPPRESS, ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from agent.compute.client import DEFAULT_ADDRESS, Client, path_of
from agent.core.errors import BadInput


class Action(NamedTuple):
    """One action of a noun: what it is for, its options, and what it does."""

    help: str
    options: Callable[[ArgumentParser], None]
    act: Callable[[Client, Namespace], int]


def add_actions(parser: ArgumentParser, actions: Mapping[str, Action]) -> None:
    """A subcommand an action; the scheduler's address and token may stand before it or after it."""
    add_scheduler_options(parser)
    commands: _SubParsersAction[ArgumentParser] = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, action in actions.items():
        command = commands.add_parser(name, help=action.help, description=action.help)
        action.options(command)
        add_scheduler_options(command, once_more=True)


def add_scheduler_options(parser: ArgumentParser, *, once_more: bool = False) -> None:
    """``--scheduler``, ``--token`` and ``--ca-file``; the environment says them too.

    ``once_more``: what was said before stays where nothing is said here.
    """
    address = os.environ.get("CELLWRIGHT_SCHEDULER", DEFAULT_ADDRESS)
    token = os.environ.get("CELLWRIGHT_TOKEN")
    for option, metavar, default, text in (
        ("--scheduler", "URL", address, f"or CELLWRIGHT_SCHEDULER; default: {DEFAULT_ADDRESS}"),
        ("--token", "TOKEN", token, "or CELLWRIGHT_TOKEN"),
        ("--ca-file", "FILE", None, "the authority that signed the scheduler's certificate"),
    ):
        parser.add_argument(option, metavar=metavar, default=SUPPRESS if once_more else default, help=text)


def run_action(args: Namespace, actions: Mapping[str, Action]) -> int:
    """Do the chosen action; the answer is the exit code."""
    return actions[args.action].act(Client(args.scheduler, args.token, ca_file=args.ca_file), args)


def properties(words: Iterable[str] | None, *, option: str = "--property") -> dict[str, str]:
    """``KEY=VALUE`` words as a dict; BadInput names the word that is none."""
    found = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise BadInput(f"{option} {word!r}; allowed: KEY=VALUE")
        found[key] = value
    return found


def name_only(what: str) -> Callable[[ArgumentParser], None]:
    """One positional argument, NAME."""

    def add(parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar=what.upper())

    return add


def delete_each(noun: str, what: str, *, plural: str) -> Action:
    """The action that deletes things by name; those that cannot be are named after the others are gone."""

    def options(parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="+", metavar=noun.upper())

    def act(client: Client, args: Namespace) -> int:
        problems = []
        for name in args.names:
            try:
                client.call("DELETE", path_of(plural, name))
            except BadInput as why:
                problems.append(str(why))
        if problems:
            raise BadInput("; ".join(problems))
        return 0

    return Action(what, options, act)
