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
sys.path.insert(0, str(PEER.parent))
import sizes  # noqa: E402

OURS = {
    "eager": ["--cuda-graphs", "0", "--batch-shapes", "0"],
    "graph": [],
    "weights": [],  # and --dtype bfloat16-weights
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
    source, target = files(args)
    dtype = "bfloat16-weights" if mode == "weights" else "bfloat16" if args.bfloat16 else "float32"
    run([args.program, "train", *OURS[mode], "--dtype", dtype, "--scheme", "admin", "--source", source, "--target", target,
         "--vocabulary", args.vocabulary, "--encoder-layers", args.layers, "--decoder-layers", args.layers,
         "--embed-dim", args.width, "--dim-feedforward", args.inner, "--num-heads", args.heads,
         "--dropout", args.dropout, "--batch-tokens", args.tokens, "--max-length", 100, "--device", args.device,
         "--threads", args.threads, "--lr", "1e-4", "--clip-norm", 0, "--max-steps", 0,
         "--max-seconds", args.warm_up + args.seconds, "--save-minutes", 0, "--save-every", 0, "--valid-every", 0,
         "--log-every", 10, "--run-dir", run_dir])
    log = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    lines = [line for line in log if line["event"] == "train" and line["seconds"] >= args.warm_up]
    first, last = lines[0], lines[-1]
    seconds = last["seconds"] - first["seconds"]
    return {"tokens_per_second": (last["tokens"] - first["tokens"]) / seconds,
            "steps": last["step"] - first["step"], "seconds": seconds, "loss": last["loss"]}


def files(args):
    return [args.data / f"train.{language}.gz" for language in args.languages]


def python(args, mode):
    warm_up = args.warm_up + (60 if "compile" in mode else 0)
    source, target = files(args)
    done = run([sys.executable, PEER, mode, "--vocabulary", args.vocabulary, "--source", source, "--target", target,
                *sizes.as_words({**vars(args), "warm_up": warm_up})])
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--languages", nargs=2, default=["de", "en"])
    parser.add_argument("--vocabulary", help="SentencePiece model; without, one is trained")
    parser.add_argument("--modes", default="eager,graph,weights", help=f"of {', '.join(OURS)}")
    parser.add_argument("--python", default=",".join(PYTHON), help=f"of {', '.join(PYTHON)}")
    sizes.add_options(parser)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        if not args.vocabulary:
            source, target = files(args)
            args.vocabulary = Path(folder) / "vocabulary.model"
            run([args.program, "vocabulary", "--source", source, "--target", target, "--vocab-size", 10000,
                 "--output", args.vocabulary])
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
