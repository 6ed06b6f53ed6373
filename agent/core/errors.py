"""What can go wrong, by what the caller does about it; each class carries the command's exit code.

0 yes, 1 error, 2 bad usage or bad input, 3 does not fit, 4 findings, 5 peer unreachable.  Exit codes 3 and 4 are
answers and no errors: they come from a Misfit or a Verdict; only an instance that was to move and cannot is refused
with DoesNotFit, because nothing changes then.  A message names the file, key or domain, what was found
and what is allowed; a cause is chained with ``raise … from``.
"""

from __future__ import annotations

DOES_NOT_FIT = 3
FINDINGS = 4


class CellwrightError(Exception):
    """Something failed on the way: the command says what in one line and ends with ``exit_code``."""

    exit_code = 1


class BadInput(CellwrightError):
    """A file, document, option or kernel file that cannot be used as it is; nothing was changed."""

    exit_code = 2


class BadRequest(BadInput):
    """A request that no host could serve: ``key`` names the extra spec, property or field, ``value`` what it holds.

    ``allowed`` says in words what could stand there; None where the reason says it already.
    """

    def __init__(self, key: str, value: object, why: str, *, allowed: str | None = None) -> None:
        shown = str(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        tail = f"; allowed: {allowed}" if allowed else ""
        super().__init__(f"{key}={shown}: {why}{tail}")
        self.key = key
        self.value = value
        self.why = why
        self.allowed = allowed


class DoesNotFit(BadInput):
    """A placed instance cannot go where it was asked to, or anywhere: it stays as it is; the message says why."""

    exit_code = DOES_NOT_FIT


class QuotaExceeded(CellwrightError):
    """A project asked for more than its quota leaves; the message has the bound, the use and the wish."""


class Unreachable(CellwrightError):
    """A peer (libvirtd, the scheduler, the database) does not answer; the message says how to start it."""

    exit_code = 5
