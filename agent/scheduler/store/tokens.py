"""Tokens: who may say what.  Only their SHA-256 is kept; a token itself is shown once, when it is made."""

from __future__ import annotations

from hashlib import sha256

from sqlalchemy import Connection, delete, func, insert, select

from agent.core.errors import BadInput
from agent.scheduler.store.schema import tokens

ROLES = ("operator", "reader", "host")


def digest(token: str) -> str:
    """What is kept of a token."""
    return sha256(token.encode()).hexdigest()


def save_token(connection: Connection, token: str, *, role: str, subject: str) -> None:
    """Give a subject (a host's name, or a person's) a token for a role, in place of the one it had."""
    connection.execute(delete(tokens).where(tokens.c.role == role, tokens.c.subject == subject))
    if find_token(connection, token) is not None:
        raise BadInput(f"token for {role} {subject}: this token is somebody's already")
    connection.execute(insert(tokens).values(sha256=digest(token), role=role, subject=subject))


def find_token(connection: Connection, token: str) -> tuple[str, str] | None:
    """The (role, subject) a token stands for, or None."""
    row = connection.execute(select(tokens).where(tokens.c.sha256 == digest(token))).one_or_none()
    return None if row is None else (row.role, row.subject)


def count_tokens(connection: Connection) -> int:
    """How many tokens there are: none means that this database is new."""
    return int(connection.execute(select(func.count()).select_from(tokens)).scalar_one())
