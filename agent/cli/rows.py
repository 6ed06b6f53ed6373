"""Rows as people and scripts want them: ``-f table|json|value|csv|yaml``, ``-c COLUMN``, as in the openstack client.

Scripts are written for its order and its words (cliff's ``display`` and ``formatters/value``): columns stand in the
list's own order, however they are asked for, and ``value`` says None, so that each line has as many words as the next.
"""

from __future__ import annotations

import csv
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from agent.core.errors import BadInput

FORMATS = ("table", "json", "value", "csv", "yaml")


def add_format_options(parser: ArgumentParser) -> None:
    """``-f`` and ``-c``."""
    parser.add_argument("-f", "--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument(
        "-c",
        "--column",
        action="append",
        metavar="COLUMN",
        help="only this column; repeatable; in the order of the list",
    )


def add_list_options(parser: ArgumentParser) -> None:
    """Those and ``--long``."""
    parser.add_argument("--long", action="store_true", help="every column; json and yaml have them in any case")
    add_format_options(parser)


def print_rows(rows: Sequence[dict[str, Any]], args: Namespace, *, columns: Sequence[str]) -> None:
    """A list of things; ``columns`` are those of the table, json and yaml have every key unless ``-c`` chooses."""
    every = list(rows[0]) if rows and getattr(args, "long", False) else []
    chosen = _chosen(args.column, rows, [*columns, *(key for key in every if key not in columns)])
    if args.format == "json":
        print(json.dumps([_pick(row, args.column, chosen) for row in rows], indent=2))
    elif args.format == "yaml":
        print(_yaml([_pick(row, args.column, chosen) for row in rows]), end="")
    elif args.format == "csv":
        _print_csv(chosen, rows)
    elif args.format == "value":
        for row in rows:
            print(" ".join(_word(row[key]) for key in chosen))
    else:
        print(_boxed([chosen, *([_text(row[key]) for key in chosen] for row in rows)]))


def print_one(row: dict[str, Any], args: Namespace) -> None:
    """One thing, a line a field."""
    chosen = _chosen(args.column, [row], list(row))
    if args.format == "json":
        print(json.dumps(_pick(row, args.column, chosen), indent=2))
    elif args.format == "yaml":
        print(_yaml(_pick(row, args.column, chosen)), end="")
    elif args.format == "csv":
        _print_csv(chosen, [row])
    elif args.format == "value":
        for key in chosen:
            print(_word(row[key]))
    else:
        print(_boxed([["field", "value"], *([key, _text(row[key])] for key in chosen)]))


def _print_csv(chosen: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(chosen)
    writer.writerows([value if isinstance(value := row[key], int) else _text(value) for key in chosen] for row in rows)


def _chosen(asked: list[str] | None, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> list[str]:
    if not asked:
        return list(columns)
    if not rows:
        return asked  # nothing says which other columns there are
    wanted = {name.lower().replace(" ", "_"): name for name in asked}
    known = list(dict.fromkeys([*columns, *rows[0]]))
    for key, name in wanted.items():
        if key not in known:
            raise BadInput(f"column {name!r}; allowed: {', '.join(known)}")
    return [key for key in known if key in wanted]


def _pick(row: dict[str, Any], asked: list[str] | None, chosen: list[str]) -> dict[str, Any]:
    return {key: row[key] for key in chosen} if asked else row


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}={_inner(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_inner, value))
    return str(value)


def _word(value: Any) -> str:
    return "None" if value is None else _text(value)


def _inner(value: Any) -> str:
    """What is inside a cell's list or dict: where that holds others, their commas would say nothing any more."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | tuple) else _text(value)


def _boxed(table: Sequence[Sequence[str]]) -> str:
    table = [["".join(c if c.isprintable() else " " for c in cell) for cell in row] for row in table]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [
        "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) + " |" for row in table
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _yaml(tree: Any) -> str:
    import yaml

    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
