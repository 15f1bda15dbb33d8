"""The HiGHS solver, silent and deterministic."""

import os
import sys
from typing import Any

import highspy


def silent(most_nodes: int) -> Any:
    """A solver of one thread, limited by nodes so that every machine gives up at the same point.

    Its constructor prints a banner to standard output, where JSON for a program may be written: the descriptor is redirected.
    """
    make: Any = highspy.Highs
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            solver = make()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    options = {"output_flag": False, "threads": 1, "mip_max_nodes": most_nodes, "mip_rel_gap": 0.0, "mip_abs_gap": 1e-9}
    for option, value in options.items():
        solver.setOptionValue(option, value)
    return solver
