"""fc.frames beside the same by hand in the frame's own words: 3,000,000 rows, 10,000 keys, answers that are equal."""

from functools import cache

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
