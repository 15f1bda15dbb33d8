"""The first process of a machine's namespaces: it reaps orphans, and the machine ends with it.

The kernel kills every process of a pid namespace when its first process dies: nothing can outlive it. Standard
library only and started with `python -I -S`, to save memory: eight of these run at once.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    ready = int(sys.argv[1])
    os.write(ready, b"ready\n")
    os.close(ready)
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) == signal.SIGTERM:
            return


if __name__ == "__main__":
    main()
