# SPDX-License-Identifier: MIT
"""The settings that both trainings of benchmarks/train_step.py take, by the same names."""

DEFAULTS = {"device": "cuda", "layers": 18, "width": 512, "inner": 1024, "heads": 4, "tokens": 4096, "bfloat16": 1,
            "threads": 0, "dropout": 0.2, "seconds": 20.0, "warm_up": 15.0}


def add_options(parser):
    for name, value in DEFAULTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)


def as_words(settings):
    return [word for name in DEFAULTS for word in (f"--{name.replace('_', '-')}", settings[name])]
