#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How fast evenkeel-translate trains, against the same training in Python, in one run on one machine.

    benchmarks/train_step.py build/examples/translation/evenkeel-translate --data folder          # on a GPU
    benchmarks/train_step.py ... --tokens 16384 --modes graph,weights,compile-graph
    benchmarks/train_step.py ... --device cpu --width 64 --inner 128 --heads 4 --tokens 512      # one thread

`--data` has train.de.gz and train.en.gz, one sentence a line. Prints target tokens a second, without padding, and
their ratio to the fastest Python.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PEER = Path(__file__).parent / "train_step" / "python_peer.py"
OURS = {
    "eager": ["--cuda-graphs", "0", "--batch-shapes", "0"],
    "graph": [],
    "weights": ["--dtype", "bfloat16-weights"],
}
PYTHON = ("eager", "compile", "graph", "compile-graph")


def run(command):
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done


def ours(args, mode, folder):
    """Of the log's lines after the warm-up."""
    run_dir = Path(folder) / mode
    run([args.program, "train", *common(args), *OURS[mode], "--max-steps", "0",
         "--max-seconds", args.warm_up + args.seconds, "--save-minutes", "0", "--save-every", "0",
         "--valid-every", "0", "--log-every", "10", "--run-dir", run_dir])
    log = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    lines = [line for line in log if line["event"] == "train" and line["seconds"] >= args.warm_up]
    first, last = lines[0], lines[-1]
    seconds = last["seconds"] - first["seconds"]
    return {"tokens_per_second": (last["tokens"] - first["tokens"]) / seconds,
            "steps": last["step"] - first["step"], "seconds": seconds, "loss": last["loss"]}


def common(args):
    files = args.data / f"train.{args.languages[0]}.gz", args.data / f"train.{args.languages[1]}.gz"
    return ["--scheme", "admin", "--source", files[0], "--target", files[1], "--vocabulary", args.vocabulary,
            "--encoder-layers", args.layers, "--decoder-layers", args.layers, "--embed-dim", args.width,
            "--dim-feedforward", args.inner, "--num-heads", args.heads, "--dropout", args.dropout,
            "--batch-tokens", args.tokens, "--max-length", 100, "--device", args.device, "--threads", args.threads,
            "--dtype", "bfloat16" if args.bfloat16 else "float32", "--lr", "1e-4", "--clip-norm", "0"]


def python(args, mode):
    sizes = ("layers", "width", "inner", "heads", "tokens", "bfloat16", "threads", "dropout", "device", "seconds")
    options = [word for name in sizes for word in (f"--{name}", getattr(args, name))]
    warm_up = args.warm_up + (60 if "compile" in mode else 0)
    done = run([sys.executable, PEER, mode, "--vocabulary", args.vocabulary, "--warm-up", warm_up, "--source",
                args.data / f"train.{args.languages[0]}.gz", "--target",
                args.data / f"train.{args.languages[1]}.gz", *options])
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--languages", nargs=2, default=["de", "en"])
    parser.add_argument("--vocabulary", help="SentencePiece model; without, one is trained")
    parser.add_argument("--modes", default="eager,graph,weights", help=f"of {', '.join(OURS)}")
    parser.add_argument("--python", default=",".join(PYTHON), help=f"of {', '.join(PYTHON)}")
    parser.add_argument("--device", default="cuda")
    for name, value in {"layers": 18, "width": 512, "inner": 1024, "heads": 4, "tokens": 4096, "bfloat16": 1,
                        "threads": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--warm-up", type=float, default=15)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        if not args.vocabulary:
            args.vocabulary = ""
            command = [word for word in common(args) if word]
            command.remove("--vocabulary")
            run([args.program, "train", *command, "--vocab-size", "10000", "--max-steps", "1",
                 "--valid-every", "0", "--run-dir", Path(folder) / "vocabulary"])
            args.vocabulary = Path(folder) / "vocabulary" / "vocabulary.model"
        rows = [(f"evenkeel, {mode}", ours(args, mode, folder)) for mode in args.modes.split(",") if mode]
        rows += [(f"Python, {mode}", python(args, mode)) for mode in args.python.split(",") if mode]
    best = max((found["tokens_per_second"] for name, found in rows if name.startswith("Python")), default=0)
    print(f"{args.layers}+{args.layers} layers, {args.width}-{args.inner}-{args.heads}, batches of {args.tokens} tokens")
    print("| training | target tokens/s | against the best Python | loss |\n| --- | ---: | ---: | ---: |")
    for name, found in rows:
        ratio = f"{found['tokens_per_second'] / best:.2f}" if best else "-"
        print(f"| {name} | {found['tokens_per_second']:,.0f} | {ratio} | {found['loss']:.3f} |", flush=True)
        print(f"{name}: {json.dumps(found)}", file=sys.stderr)


if __name__ == "__main__":
    main()
