"""A libvirt under which something happens to a guest in the middle of a reading."""

from collections.abc import Callable

from agent.compute.driver import Driver
from tests.compute.guests import URI


class Changing(Driver):
    """``happens`` is called right before one of our calls is answered."""

    def __init__(self, moment: str, happens: Callable[[], object]) -> None:
        super().__init__(URI)
        self.moment, self.happens = moment, happens

    def _meanwhile(self, call: str) -> None:
        if call == self.moment:
            self.moment = ""
            self.happens()

    def xml(self, name: str, *, config: bool = False) -> str:
        self._meanwhile("config" if config else "xml")
        found = super().xml(name, config=config)
        if config:  # the last call before /proc is read
            self._meanwhile("processes")
        return found
