"""Statements of the claim's path, compiled once and handed to the driver as they are.

SQLAlchemy builds and checks each statement and its result anew, which costs more than SQLite takes to execute it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import Dialect, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement

T = TypeVar("T")


class Session(Protocol):
    """Where a statement is executed: SQLAlchemy's Connection, or agent.scheduler.store.direct's."""

    @property
    def dialect(self) -> Dialect:
        """What the database speaks."""

    @property
    def connection(self) -> Any:
        """The driver's connection."""

    def invalidate(self, exception: BaseException | None = None) -> None:
        """Let go of a connection that is lost."""


class Cursor(NamedTuple):
    """What the driver answers: the rows that a statement changed or found, and those that it returns."""

    rowcount: int
    rows: list[tuple[Any, ...]]


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

    def __init__(self, statement: Executable, columns: Sequence[str] = ()) -> None:
        self._statement = statement
        self._columns = tuple(columns)
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Session, values: Mapping[str, Any]) -> Cursor:
        """Execute it once; values are what the driver takes: no column types are applied to them."""
        compiled = self._compile(connection)
        return execute(connection, compiled.text, compiled.bound(values))

    def run_many(self, connection: Session, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute it for every row, which has its values in the order of ``columns``; nothing happens without any."""
        if not rows:
            return
        text, _, order = self._compile(connection)
        assert order in (None, self._columns), "the columns are not in the table's order"
        bound = rows if order else [dict(zip(self._columns, row, strict=True)) for row in rows]
        _with_cursor(connection, text, bound, lambda cursor: cursor.executemany(text, bound))

    def _compile(self, connection: Session) -> _Compiled:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            assert isinstance(self._statement, ClauseElement)
            made = self._statement.compile(dialect=dialect, column_keys=self._columns or None)
            assert isinstance(made, SQLCompiler)
            constants = {name: value for name, value in made.params.items() if value is not None}
            order = None if made.positiontup is None else tuple(made.positiontup)
            compiled = self._compiled[dialect.name] = _Compiled(made.string, constants, order)
        return compiled


def execute(connection: Session, text: str, parameters: Any) -> Cursor:
    """Execute the driver's own text in a transaction of SQLAlchemy's; what it raises are SQLAlchemy's exceptions."""

    def ask(cursor: Any) -> Cursor:
        cursor.execute(text, parameters)
        return Cursor(cursor.rowcount, [] if cursor.description is None else cursor.fetchall())

    return _with_cursor(connection, text, parameters, ask)


def _with_cursor(connection: Session, text: str, parameters: Any, ask: Callable[[Any], T]) -> T:
    driver, held = connection.dialect.loaded_dbapi, connection.connection
    cursor = held.cursor()
    try:
        return ask(cursor)
    except driver.Error as why:
        gone = connection.dialect.is_disconnect(why, held, cursor)
        if gone:
            connection.invalidate(why)
        raise DBAPIError.instance(
            text, parameters, why, driver.Error, connection_invalidated=gone, dialect=connection.dialect
        ) from why
    finally:
        cursor.close()
