"""A private folder with a guardian: both the folder and the server in it go when our process goes, even by SIGKILL."""

import os
import pwd
import subprocess
import tempfile
from pathlib import Path
from typing import IO

CLOSE_TIMEOUT_S = 10.0

# The guardian reads one line for every server we start: its process group, or an empty line when it was stopped.
# "end", or the end of the pipe because our process is gone, makes it kill what still runs, take the server's farewell
# (a line of shell for what lies outside the folder), and remove the folder.
# `rm` is tried again because the children of a killed server may still be writing their last file.
GUARDIAN = """
while read -r line && [ "$line" != end ]; do group=$line; done
[ -n "$group" ] && kill -s KILL -- "-$group"
cd "$1" && eval "$2"
cd /
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && break; sleep 0.1; done
"""
# Why not PR_SET_PDEATHSIG (setpriv --pdeathsig)? It fires when the *thread* that started the server ends, so a server
# started in a worker thread would die early; a change of user clears it; only Linux has it; and the folder would stay.


class PrivateFolder:
    """A folder that only `owner` can enter, removed by `close()` or by the death of our process."""

    def __init__(self, name: str, owner: pwd.struct_passwd | None, farewell: str = "") -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"quart-counter-{name}-", dir=_parent(owner)))
        if owner is not None:
            os.chown(self.path, owner.pw_uid, owner.pw_gid)
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", GUARDIAN, "guardian", str(self.path), farewell],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is for us; the guardian works when we are gone
        )

    def guard(self, group: int | None) -> None:
        """From now on this process group dies with us (None: nothing runs)."""
        self._tell("" if group is None else str(group))

    def close(self) -> None:
        """Kill what is still guarded and remove the folder; return when both are done."""
        # a word, not only the end of the pipe: a forked child of ours may hold the pipe open
        self._tell("end")
        self._pipe.close()
        self._guardian.wait(CLOSE_TIMEOUT_S)

    def _tell(self, line: str) -> None:
        self._pipe.write(f"{line}\n".encode())
        self._pipe.flush()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._guardian.stdin is not None  # we asked for a PIPE
        return self._guardian.stdin


def unprivileged_account() -> pwd.struct_passwd | None:
    """The account for a server that refuses to run as root; None where we are not root and need no other."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _parent(owner: pwd.struct_passwd | None) -> str:
    """The usual temporary folder, or one that another user can reach when the usual one is closed to others."""
    usual = tempfile.gettempdir()
    if owner is None:
        return usual
    return next((place for place in (usual, "/tmp", "/var/tmp") if _reachable(Path(place).resolve())), usual)


def _reachable(place: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (place, *place.parents))
