"""`python -m fastcell scan`: the toy cell over files."""

import argparse

import pyarrow as pa

from fastcell._cli.stream import Kinds, run
from fastcell.frames.base import Job
from fastcell.frames.job import ScanJob


def scan(options: argparse.Namespace) -> None:
    """Run the command; raises BadInputError for what the user can mend, and writes nothing then."""

    def make(names: list[str]) -> tuple[Job, Kinds]:
        roles = {"value": options.value, "control": options.control, "emit": options.emit}
        more = {"fill": options.fill, "strict": True, "low": options.low, "high": options.high, "threads": None}
        kinds = dict.fromkeys(roles.values(), (pa.float64(),))
        if options.integer:
            kinds[options.value] = (pa.int64(),)
        return ScanJob("toy", roles, options.by, options.order_by, "y", options.nulls, more), kinds

    run(options, make)
