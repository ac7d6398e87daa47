# SPDX-License-Identifier: MIT
"""Reads the checkpoint that tests/unit/common/checkpoint_test.cpp wrote with Python's package.

    python safetensors_reader.py REFERENCE_FOLDER

fails unless REFERENCE_FOLDER/checkpoint.safetensors holds what that test put into it.
"""

import json
import pathlib
import sys
import zlib

import torch
from safetensors import safe_open

EXPECTED = {
    "half": torch.arange(15).reshape(3, 5).to(torch.bfloat16) / 8,
    "double": torch.tensor([0.1, -1e300], dtype=torch.float64),
    "transposed": torch.arange(24, dtype=torch.float32).reshape(4, 6).t(),
    "scalar": torch.tensor(7.0),
    "empty": torch.empty(0, 3),
    "bytes": torch.arange(11, dtype=torch.uint8),
}
TEXTS = {"note": 'più "quoted"\n'}


def main():
    file = pathlib.Path(sys.argv[1]) / "checkpoint.safetensors"
    with safe_open(file, framework="pt") as checkpoint:
        texts = checkpoint.metadata()
        sums = json.loads(texts.pop("checksums"))
        assert texts.pop("header_checksum") == "1d85b076"
        assert texts == TEXTS, texts
        assert set(checkpoint.keys()) == set(EXPECTED), checkpoint.keys()
        for name, expected in EXPECTED.items():
            actual = checkpoint.get_tensor(name)
            assert actual.dtype == expected.dtype, (name, actual.dtype)
            assert actual.shape == expected.shape, (name, actual.shape)
            assert torch.equal(actual, expected), (name, actual)
            data = actual.contiguous().flatten().view(torch.uint8).numpy().tobytes()
            assert sums[name] == f"{zlib.crc32(data):08x}", (name, sums[name])


if __name__ == "__main__":
    main()
