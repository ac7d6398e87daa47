#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains the same language model with every block on the same tokens: the tables of docs/methods/simplified.md.

    benchmarks/blocks.py build/examples/language_model/evenkeel-lm                   # three minutes of two cores
    benchmarks/blocks.py build/examples/language_model/evenkeel-lm --size gpu        # five minutes of a GPU
    benchmarks/blocks.py build/examples/language_model/evenkeel-lm --size deep --blocks default,sas-p

One run after the other, so that tokens a second can be compared. The text is the C++ source of this machine's own
headers, one file in twenty held out, unless --text and --valid-text name another.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCKS = ("default", "parallel", "sas", "sas-p", "op", "value-skipinit")
GPU = ["--num-heads", "12", "--batch-size", "128", "--dtype", "bfloat16"]
# As the blocks' authors have it: RMSNorm, no biases; warm-up is longer, since the runs are short.
SIZES = {
    "cpu": (6, 96, 200, ["--num-heads", "4", "--batch-size", "16"]),
    "gpu": (18, 768, 600, GPU),
    "deep": (72, 384, 300, GPU),
}
SETTINGS = ["--norm", "rmsnorm", "--bias", "0", "--warmup-share", "0.33", "--samples", "0", "--save-minutes", "0"]
HEADERS = Path("/usr/include")
MOST_BYTES = 20_000_000  # of text


def headers_as_text(folder):
    """Writes the machine's C++ headers to two files, and returns their names."""
    files = sorted(path for path in HEADERS.rglob("*") if path.is_file() and not path.is_symlink()
                   and (path.suffix in (".h", ".hpp") or "c++" in path.parts))
    text, held_out, size = [], [], 0
    for number, path in enumerate(files):
        source = path.read_bytes()
        if b"\0" in source or size > MOST_BYTES:
            continue
        size += len(source)
        (held_out if number % 20 == 0 else text).append(source.decode(errors="ignore"))
    names = []
    for name, parts in (("text.txt", text), ("valid.txt", held_out)):
        names.append(folder / name)
        names[-1].write_text("".join(parts))
    return names


def train(args, block, text, valid_text, folder):
    layers, width, steps, options = SIZES[args.size]
    steps = args.steps or steps
    run_dir = folder / block
    command = [args.program, "train", "--text", text, "--valid-text", valid_text, "--block", block, "--num-layers",
               str(layers), "--embed-dim", str(width), "--dim-feedforward", str(4 * width), "--max-steps", str(steps),
               "--valid-every", str(steps), "--log-every", str(max(1, steps // 5)), "--run-dir", run_dir, "--seed", str(args.seed), *SETTINGS, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{block}: {done.stderr.strip().splitlines()[-1]}")
    events = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    speeds = sorted(event["tokens_per_second"] for event in events if event["event"] == "train")
    valid = next(event for event in reversed(events) if event["event"] == "valid")
    parameters = next(line for line in done.stderr.splitlines() if " parameters" in line)
    return {"parameters": int(parameters.split(" parameters")[0].split()[-1]), "loss": valid["loss"],
            "speed": speeds[len(speeds) // 2], "kurtosis": [layer["kurtosis"] for layer in valid["layers"]]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--size", choices=SIZES, default="cpu", help="(default: %(default)s)")
    parser.add_argument("--blocks", default=",".join(BLOCKS), help="(default: %(default)s)")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--valid-text", type=Path)
    parser.add_argument("--steps", type=int, help="updates (default: those of the size)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if (args.text is None) != (args.valid_text is None):
        parser.error("expected --text and --valid-text, or neither")
    print("| block | parameters | validation loss | tokens a second | kurtosis: first, middle, last layer |")
    print("| --- | --- | --- | --- | --- |")
    first = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = (args.text, args.valid_text) if args.text else headers_as_text(folder)
        for block in args.blocks.split(","):
            result = train(args, block, *texts, folder)
            first = first or result
            kurtosis = result["kurtosis"]
            shown = [kurtosis[0], kurtosis[(len(kurtosis) - 1) // 2], kurtosis[-1]]
            print(f"| `{block}` | {result['parameters']:,} ({result['parameters'] / first['parameters'] - 1:+.1%}) "
                  f"| {result['loss']:.3f} | {result['speed']:,.0f} ({result['speed'] / first['speed']:.2f}) "
                  f"| {', '.join(f'{value:.2f}' for value in shown)} |", flush=True)


if __name__ == "__main__":
    main()
