"""The process that maintains the volumes (`volumes`), driven by a watch: `python -m kafka_runbooks_lab.provisioner`."""

import subprocess
import time

from kafka_runbooks_lab import volumes
from kafka_runbooks_lab.errors import LabError
from kafka_runbooks_lab.lab import Lab


def main() -> None:
    """Maintain the volumes until the lab goes down."""
    lab = Lab()
    while lab.machine.process():
        try:
            watch_argv = lab.exec_argv(lab.kubectl_argv("get", "pv", "--watch", "-o", "name"))
            with subprocess.Popen(watch_argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as watch:
                assert watch.stdout is not None
                for _ in watch.stdout:  # the watch starts with one line per volume, so earlier changes are covered too
                    volumes.tend(lab.kubectl, lab.cgroups)
        except LabError as error:  # the API server may be unavailable for a while
            print(error, flush=True)
        time.sleep(2)


if __name__ == "__main__":
    main()
