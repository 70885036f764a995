"""Files that are being written, and what interrupted runs left of them."""

import os
import re
import socket
import time
from pathlib import Path

__all__ = ["PREFIX", "left_over", "temporary_name"]

PREFIX = ".tmp-"
_NAME = re.compile(r"\.tmp-(.*)-([0-9]{1,9})-[0-9a-f]{16}")
# No write takes this long: a temporary file that was not touched for as many seconds is left over.
_ABANDONED = 24 * 3600


def temporary_name() -> str:
    """Return a name that tells who writes."""
    return f"{PREFIX}{socket.gethostname()}-{os.getpid()}-{os.urandom(8).hex()}"


def left_over(path: Path) -> bool:
    """Whether nobody writes a temporary file any more."""
    if time.time() - path.lstat().st_mtime > _ABANDONED:
        return True
    match = _NAME.fullmatch(path.name)
    if match is None:  # nobody writes under such a name
        return True
    # Only on its own machine does a process number say anything, and only under POSIX does signal 0 just ask.
    if match[1] != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(int(match[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's, alive
        return False
    return False
