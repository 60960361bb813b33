"""Finds out whether a server runs this app in several worker processes, where each would count apart."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from quart_counter.errors import ConfigurationError


@contextmanager
def only_worker(app: str) -> Iterator[None]:
    """Hold the place of the one worker of `app`; a process that is killed lets go of it too.

    Raises ConfigurationError if another worker of the same server has it: `hypercorn -w 2` and its like start workers
    as children of one process, and numbers in memory would be handed out once by each. Only Linux has the kind of name
    that a killed process cannot leave behind, and only servers that start workers through multiprocessing are seen.
    """
    if sys.platform != "linux" or multiprocessing.parent_process() is None:
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        try:
            claim.bind(f"\0quart_counter/{os.getppid()}/{app}")
        except OSError:
            raise ConfigurationError(
                "another worker of this server counts in its own memory already, so every number would be handed out "
                "by each of them: give a url (redis://…) that they share, or start one worker"
            ) from None
        yield
