"""A process that outlives whoever started it for a moment, to end everything else that was started.

    python -m fedspallm_secure.app.service.keeper <pipe

It leads a process group that the others join.  A byte on its standard input means that all of them have ended; its end
without one, that the one who started them is gone, however that happened.  Then the whole group is stopped.
"""

import os
import signal
import sys
import time

GRACE = 5.0  # seconds for the others to stop in an orderly way


def main() -> None:
    """Wait for the end of the pipe, and see to the group."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read(1) or os.getpgrp() != os.getpid():
        return
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
