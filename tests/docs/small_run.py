#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs `evenkeel-translate train` with the given options, but a small model, few updates and the CPU.

    small_run.py OPTION...

What a recipe says of the model's size, of batches and of the run's length is left out; all else is as it stands there, so
that a mistyped option, a setting out of range or two that do not fit are found.
"""

import subprocess
import sys

SMALL = {
    "vocab-size": "60",
    "encoder-layers": "2",
    "decoder-layers": "2",
    "embed-dim": "32",
    "num-heads": "4",
    "dim-feedforward": "64",
    "batch-tokens": "500",
    "accumulate": "1",
    "dtype": "float32",
    "device": "cpu",
    "max-steps": "10",
    "after-epochs": "0",
    "save-every": "1",
    "valid-every": "5",
    "valid-sentences": "4",
}


def main() -> int:
    kept, left_out = [], False
    for word in sys.argv[1:]:
        if word.startswith("--"):
            left_out = word[2:] in SMALL
        if not left_out:
            kept.append(word)
    small = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    return subprocess.run(["evenkeel-translate", "train", *kept, *small]).returncode


if __name__ == "__main__":
    sys.exit(main())
