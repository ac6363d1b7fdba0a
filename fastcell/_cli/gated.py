"""`python -m fastcell gated`: the gated recurrence over files; a gate is a column, a number or a decay over time."""

import argparse

import pyarrow as pa

from fastcell._cli.stream import Kinds, run
from fastcell.frames.base import Job
from fastcell.frames.job import ScanJob, gated_roles


def gated(options: argparse.Namespace) -> None:
    """Run the command; raises BadInputError for what the user can mend, and writes nothing then."""

    def make(names: list[str]) -> tuple[Job, Kinds]:
        forget, kept, shown = (_number(gate, names) for gate in (options.forget, options.input_gate, options.emit))
        half_life = _number(options.half_life, [])
        roles = gated_roles(options.value, forget, kept, shown, half_life, options.time)
        job = ScanJob("gated", roles, options.by, options.order_by, "y", options.nulls, {"threads": None}, half_life)
        kinds: Kinds = {name: (pa.float64(),) for name in roles.values() if isinstance(name, str)}
        if job.half_life is not None:
            kinds[options.time] = (pa.int64() if options.integer else pa.float64(),)
            if job.half_life.duration:
                kinds[options.time] = (pa.timestamp("ns"), pa.timestamp("ns", "UTC"))  # without zones or with them
        return job, kinds

    run(options, make)


def _number(given: str | None, names: list[str]) -> str | float | None:
    """A text that is a number and no column."""
    if given is None or given in names:
        return given
    try:
        return float(given)
    except ValueError:
        return given
