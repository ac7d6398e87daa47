#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What evenkeel's umbrella header costs the compiler over LibTorch's own, <torch/torch.h>.

Compiles two translation units in turn, so that a machine whose speed drifts slows both, and prints the
median time of each and the median ratio.

    benchmarks/compile_time.py --torch "$(python3 -c 'import torch; print(torch.__path__[0])')"
"""

import argparse
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNITS = {
    "torch/torch.h": "#include <torch/torch.h>\n",
    "and evenkeel/evenkeel.hpp": "#include <torch/torch.h>\n#include <evenkeel/evenkeel.hpp>\n",
    "evenkeel/evenkeel.hpp alone": "#include <evenkeel/evenkeel.hpp>\n",
}


def seconds(command):
    """CPU time of the compiler, which other programs on the machine disturb least."""
    before = os.times()
    subprocess.run(command, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", required=True, type=Path, help="LibTorch's folder, with include/ in it")
    parser.add_argument("--compiler", default="c++")
    parser.add_argument("--standard", default="17", choices=("17", "20"))
    parser.add_argument("--repeats", default=7, type=int)
    arguments = parser.parse_args()

    include = arguments.torch / "include"
    if not (include / "torch/csrc/api/include/torch/torch.h").exists():
        parser.error(f"expected LibTorch's headers in {include}, but there are none")
    command = [arguments.compiler, f"-std=c++{arguments.standard}", "-O0", "-DFMT_HEADER_ONLY=1", "-c", "-o", os.devnull,
               f"-I{ROOT / 'include'}", "-isystem", include, "-isystem", include / "torch/csrc/api/include"]
    times = {name: [] for name in UNITS}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats + 1):
            for i, (name, text) in enumerate(UNITS.items()):
                unit = Path(folder) / f"{i}.cpp"
                unit.write_text(text)
                taken = seconds([*command, unit])
                if repeat > 0:  # the first one fills the disk's cache
                    times[name].append(taken)
    base = times["torch/torch.h"]
    print(f"{'includes':<30} {'median s':>9} {'ratio':>6}")
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, base))
        print(f"{name:<30} {statistics.median(taken):>9.2f} {ratio:>6.3f}")


if __name__ == "__main__":
    main()
