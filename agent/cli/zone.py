"""Availability zones: made by aggregates that name one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from agent.cli.cluster import Action, add_actions, run_action
from agent.cli.rows import add_list_options, print_rows
from agent.compute.client import Client, path_of


def configure(parser: ArgumentParser) -> None:
    """The actions of ``cellwright zone``."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Do the chosen action."""
    return run_action(args, ACTIONS)


def _list(client: Client, args: Namespace) -> int:
    print_rows(client.call("GET", path_of("zones")), args, columns=("name", "hosts", "available"))
    return 0


ACTIONS = {"list": Action("all zones that have hosts", add_list_options, _list)}
