"""fc.frames beside the same by hand in the frame's own words: 3,000,000 rows, 10,000 keys, answers that are equal; and
the command over a Parquet file beside Polars' query in memory."""

import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from . import common, dataframes

BY_HAND = {"pandas": dataframes.with_pandas, "polars": dataframes.with_polars}


@cache
def frames(keys: str) -> dict[str, object]:
    events = common.events(3_000_000, 10_000)
    return dataframes.frames(dataframes.with_text_keys(events) if keys == "text" else events)


class Frames:
    """One thread; what a call takes from frame to frame, numbering of keys included."""

    params = (("pandas", "polars"), ("integers", "text"))
    param_names = ("library", "keys")
    number, repeat, rounds, timeout = 1, (3, 7, 10.0), 2, 300

    def setup(self, library: str, keys: str) -> None:
        common.needs("frames")
        self.frame, self.by_hand = frames(keys)[library], BY_HAND[library]
        y = np.asarray(dataframes.fastcell_frames(self.frame)["y"])
        if not np.array_equal(y, self.by_hand(self.frame)):
            raise AssertionError("the answers differ")

    def time_toy_scan(self, library: str, keys: str) -> None:
        dataframes.fastcell_frames(self.frame)

    def track_times_by_hand(self, library: str, keys: str) -> float:
        return common.ratio(lambda: self.by_hand(self.frame), lambda: dataframes.fastcell_frames(self.frame), rounds=3)

    track_times_by_hand.unit = "times the speed by hand"
    track_times_by_hand.pretty_name = "fc.frames.toy_scan, times the same by hand"
    time_toy_scan.pretty_name = "fc.frames.toy_scan"


class ScanCommand:
    """`python -m fastcell scan` within a process: it reads, scans and writes 4,000,000 rows of 100,000 keys."""

    number, repeat, rounds, timeout = 1, (2, 4, 10.0), 1, 300

    def setup(self) -> None:
        common.needs("frames")
        import polars as pl

        from fastcell.__main__ import main

        self.main, self.folder = main, Path(mkdtemp())
        events = common.events(4_000_000, 100_000)
        pl.DataFrame(events | {"value": events["value"].astype(np.float32)}).write_parquet(self.folder / "in.parquet")
        self.time_scan()
        self.by_hand()
        names = ("out.parquet", "polars.parquet")
        own, theirs = (pl.read_parquet(self.folder / name)["y"].to_numpy() for name in names)
        np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-4)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def by_hand(self) -> None:
        dataframes.file_with_polars(self.folder / "in.parquet", self.folder / "polars.parquet")

    def time_scan(self) -> None:
        names = ["--value", "value", "--control", "control", "--emit", "emit", "--by", "key"]
        paths = [os.fspath(self.folder / name) for name in ("in.parquet", "out.parquet")]
        if self.main(["scan", paths[0], *names, "-o", paths[1]]):
            raise AssertionError("the command failed")

    def track_scan_times_polars(self) -> float:
        return common.ratio(self.by_hand, self.time_scan, rounds=2)

    track_scan_times_polars.unit = "times the speed of Polars"
    track_scan_times_polars.pretty_name = "scan of a Parquet file, times Polars in memory"
    time_scan.pretty_name = "scan of a Parquet file"
