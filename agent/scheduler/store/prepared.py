"""Statements of the claim's path, compiled once: handing the driver its text costs a third of building it each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement


class _Compiled(NamedTuple):
    """The driver's text, constants inside the statement, and the order of parameters where they have no names."""

    text: str
    constants: dict[str, Any]
    order: tuple[str, ...] | None

    def bound(self, values: Mapping[str, Any]) -> Any:
        """The parameters as the driver takes them."""
        merged = {**self.constants, **values} if self.constants else values
        return merged if self.order is None else tuple([merged[name] for name in self.order])


class Prepared:
    """A statement with named parameters.  ``columns`` are those that an INSERT or UPDATE gets values for."""

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute it once; values are what the driver takes: no column types are applied to them."""
        compiled = self._compile(connection)
        return connection.exec_driver_sql(compiled.text, compiled.bound(values))

    def run_many(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Execute it for every row; nothing happens without any."""
        compiled = self._compile(connection)
        bound = [compiled.bound(row) for row in rows]
        if bound:
            connection.exec_driver_sql(compiled.text, bound)

    def _compile(self, connection: Connection) -> _Compiled:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            assert isinstance(self._statement, ClauseElement)
            made = self._statement.compile(dialect=dialect, column_keys=self._columns)
            assert isinstance(made, SQLCompiler)
            constants = {name: value for name, value in made.params.items() if value is not None}
            order = None if made.positiontup is None else tuple(made.positiontup)
            compiled = self._compiled[dialect.name] = _Compiled(made.string, constants, order)
        return compiled
