# SPDX-License-Identifier: MIT
"""Files of Python's safetensors for tests/unit/fold/python_test.cpp, and the reverse.

    python safetensors_reference.py FOLDER            writes FOLDER/safetensors/python.safetensors and tied.safetensors
    python safetensors_reference.py --verify FOLDER   reads FOLDER/safetensors/ours.safetensors and ours_tied.safetensors,
                                                      which that test has written, with the same values
"""

import pathlib
import sys

import torch

from tensors import imported

safetensors_torch = imported("safetensors.torch")

METADATA = {"note": 'più "quoted"\n'}


def tensors():
    """One of every dtype that safetensors and torch have, from the same 48 bytes, by its name in the format."""
    data = torch.arange(1, 49, dtype=torch.uint8)
    every = {name: data.view(dtype).clone() for name, dtype in safetensors_torch._TYPES.items() if dtype not in (None, torch.bool)}
    every.update(BOOL=data > 20, scalar=torch.tensor(7.0), empty=torch.empty(0, 3))
    every["transposed"] = torch.arange(24, dtype=torch.float32).view(4, 6).t().contiguous()
    return every


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5)
        self.head.weight = self.embedding.weight
        self.norm = torch.nn.BatchNorm1d(3)


def fill(module):
    with torch.no_grad():
        for index, (_, tensor) in enumerate(sorted(module.state_dict().items())):
            tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape) / 8 + index)
    return module


def same_bytes(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.flatten().view(torch.uint8).equal(b.flatten().view(torch.uint8))


def verify(folder):
    read = safetensors_torch.load_file(folder / "ours.safetensors")
    expected = tensors()
    assert set(read) == set(expected), (sorted(read), sorted(expected))
    for name, tensor in expected.items():
        assert same_bytes(read[name], tensor), (name, read[name], tensor)
    with safetensors_torch.safe_open(folder / "ours.safetensors", framework="pt") as file:
        assert file.metadata() == METADATA, file.metadata()
    module = Tied()
    safetensors_torch.load_model(module, folder / "ours_tied.safetensors")
    for name, tensor in fill(Tied()).state_dict().items():
        assert module.state_dict()[name].equal(tensor), name
    assert module.head.weight is module.embedding.weight


def main():
    if sys.argv[1] == "--verify":
        verify(pathlib.Path(sys.argv[2]) / "safetensors")
        return
    folder = pathlib.Path(sys.argv[1]) / "safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    safetensors_torch.save_file(tensors(), folder / "python.safetensors", METADATA)
    safetensors_torch.save_model(fill(Tied()), folder / "tied.safetensors")


if __name__ == "__main__":
    main()
