"""What clients are not told: the particulars of a store that cannot be used, which are for the log."""

from __future__ import annotations

import logging
import time
from typing import Final

QUIET_S: Final = 10.0  # between two lines: clients must not be able to fill the log


class Withheld:
    """Cuts a store's sentence for clients, and tells the whole of it to `log`, a worker a line in ten seconds."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._quiet_until = 0.0
        self._untold = 0

    def shown(self, sentence: str) -> str:
        """Return what stands before the parentheses: in them are addresses, paths and the server's own words."""
        general, particulars, _ = sentence.partition(" (")
        if particulars:
            self._tell(sentence)
        return general

    def _tell(self, sentence: str) -> None:
        now = time.monotonic()
        if now < self._quiet_until:
            self._untold += 1
            return
        more = f"; {self._untold} more sentences like it were not told" if self._untold else ""
        self._quiet_until, self._untold = now + QUIET_S, 0
        self._log.warning("%s%s", sentence, more)
