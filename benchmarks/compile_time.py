#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What evenkeel costs the compiler over LibTorch: its umbrella header over <torch/torch.h>, and its use in a module.

Compiles the translation units in turn, so that a machine whose speed drifts slows all, and prints for each the least
and the median time, and what they are of the same without evenkeel. Other programs on the machine only add, so the
least says most.

    benchmarks/compile_time.py --torch "$(python3 -c 'import torch; print(torch.__path__[0])')"
"""

import argparse
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = "#include <torch/torch.h>\n"
BOTH = TORCH + "#include <evenkeel/evenkeel.hpp>\n"
OWN_HEADER = TORCH + "#include <evenkeel/residual/admin_residual.hpp>\n"
BLOCK = """
struct BlockImpl : torch::nn::Cloneable<BlockImpl> {{
  BlockImpl() {{ reset(); }}
  void reset() override {{
    branch = register_module("branch", torch::nn::Linear(8, 8));
    {register}
  }}
  torch::Tensor forward(const torch::Tensor& x) {{ return {joined}; }}
  torch::nn::Linear branch{{nullptr}};
  {member}
}};
TORCH_MODULE(Block);
torch::Tensor use(const torch::Tensor& x) {{ return Block()(x); }}
"""
POST_LN = BLOCK.format(
    register='norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({8})));',
    joined="norm(x + branch(x))",
    member="torch::nn::LayerNorm norm{nullptr};",
)
ADMIN = BLOCK.format(
    register='residual = register_module("residual", evenkeel::AdminResidual<>(36));',
    joined="residual(x, branch(x))",
    member="evenkeel::AdminResidual<> residual{nullptr};",
)
# Each with the one that it is compared with.
UNITS = {
    "torch/torch.h": (TORCH, "torch/torch.h"),
    "and evenkeel/evenkeel.hpp": (BOTH, "torch/torch.h"),
    "evenkeel/evenkeel.hpp alone": ("#include <evenkeel/evenkeel.hpp>\n", "torch/torch.h"),
    "a Post-LN block": (TORCH + POST_LN, "a Post-LN block"),
    "an Admin block, umbrella": (BOTH + ADMIN, "a Post-LN block"),
    "an Admin block, its header": (OWN_HEADER + ADMIN, "a Post-LN block"),
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
    parser.add_argument("--optimise", default="-O0", help="the compiler's option, as --optimise=-O3")
    parser.add_argument("--repeats", default=7, type=int)
    arguments = parser.parse_args()

    include = arguments.torch / "include"
    if not (include / "torch/csrc/api/include/torch/torch.h").exists():
        parser.error(f"expected LibTorch's headers in {include}, but there are none")
    command = [arguments.compiler, f"-std=c++{arguments.standard}", arguments.optimise, "-DFMT_HEADER_ONLY=1",
               "-c", "-o", os.devnull, f"-I{ROOT / 'include'}", "-isystem", include,
               "-isystem", include / "torch/csrc/api/include"]
    times = {name: [] for name in UNITS}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats + 1):
            for i, (name, (text, _)) in enumerate(UNITS.items()):
                unit = Path(folder) / f"{i}.cpp"
                unit.write_text(text)
                taken = seconds([*command, unit])
                if repeat > 0:  # the first one fills the disk's cache
                    times[name].append(taken)
    print(f"{'':<30} {'least s':>8} {'ratio':>6} {'median s':>9} {'ratio':>6}")
    for name, (_, base_name) in UNITS.items():
        taken, base = times[name], times[base_name]
        least, median = min(taken), statistics.median(taken)
        ratios = (least / min(base), median / statistics.median(base))
        print(f"{name:<30} {least:>8.2f} {ratios[0]:>6.3f} {median:>9.2f} {ratios[1]:>6.3f}")


if __name__ == "__main__":
    main()
