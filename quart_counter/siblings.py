"""Finds out whether a server runs this app in several worker processes, where each would count apart."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys

from quart_counter.errors import ConfigurationError


def only_worker(app: str) -> socket.socket | None:
    """Claim the place of the one worker of `app`; the claim lasts as long as the object, and ends with the process.

    Raises ConfigurationError if another worker of the same server has it: `hypercorn -w 2` and its like start workers
    as children of one process, and numbers in memory would be handed out once by each. Only Linux has the kind of name
    that a killed process cannot leave behind, and only servers that start workers through multiprocessing are seen.
    """
    if sys.platform != "linux" or multiprocessing.parent_process() is None:
        return None
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0quart_counter/{os.getppid()}/{app}")
    except OSError:
        claim.close()
        raise ConfigurationError(
            "another worker of this server counts in its own memory already, so every number would be handed out by "
            "each of them: give a url (redis://…) that they share, or start one worker"
        ) from None
    return claim
