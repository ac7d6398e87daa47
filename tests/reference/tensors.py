# SPDX-License-Identifier: MIT
"""Tensors in a file that LibTorch reads, and packages that the reference scripts can do without."""

import importlib
import pathlib
import sys

import torch

SKIPPED = 77  # as tests/CMakeLists.txt has it


def imported(name):
    """The module, or the end of the script with SKIPPED if its package is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(f"skipped: {error}")
        sys.exit(SKIPPED)


class Tensors(torch.nn.Module):
    """Carries tensors into a file: what torch.jit.save writes is the format of LibTorch's torch::save."""

    def __init__(self, tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "__"), torch.as_tensor(tensor).detach().clone())


def save(path, tensors):
    torch.jit.save(torch.jit.script(Tensors(tensors)), path)


def fresh_folder(path):
    """The folder, without the files of an earlier run."""
    folder = pathlib.Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.pt"):
        old.unlink()
    return folder
