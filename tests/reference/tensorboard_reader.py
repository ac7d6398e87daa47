# SPDX-License-Identifier: MIT
"""Reads the event file that tests/unit/common/event_file_test.cpp wrote with Python's package tensorboard.

    python tensorboard_reader.py REFERENCE_FOLDER

fails unless REFERENCE_FOLDER/tensorboard/ holds what that test put into it. Exits with 77 where the package is not installed.
"""

import pathlib
import sys

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("tensorboard is not installed")
    sys.exit(77)

EXPECTED = {
    "train/loss": [(100, 1.0), (200, 0.5), (300, 0.25)],
    "train/lr": [(100, 0.125), (200, 0.125), (300, 0.125)],
    "valid/bleu": [(200, 31.5)],
}


def main():
    accumulator = EventAccumulator(str(pathlib.Path(sys.argv[1]) / "tensorboard"))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    assert set(tags) == set(EXPECTED), tags
    for tag, expected in EXPECTED.items():
        scalars = accumulator.Scalars(tag)
        assert [(each.step, each.value) for each in scalars] == expected, (tag, scalars)
        times = [each.wall_time for each in scalars]
        assert times == sorted(times) and times[0] > 1.6e9, (tag, times)


if __name__ == "__main__":
    main()
