# SPDX-License-Identifier: MIT
"""What microsoft/admin-torch's own package computes, for tests/unit/residual/admin_torch_test.cpp.

    python admin_torch_reference.py OUTPUT_FOLDER

fills OUTPUT_FOLDER/admin_torch/ with, for every case, NAME.checkpoint.pt, an OmegaResidual as
torch.jit saves it, and NAME.tensors.pt, inputs, outputs and gradients. LibTorch reads both: what
torch.jit.save writes is the format of its own torch::save.

    python admin_torch_reference.py --verify OUTPUT_FOLDER

loads the checkpoints that the C++ test has written beside them, NAME.ours.pt, into OmegaResidual
and compares its outputs with those of C++.
"""

import argparse
import pathlib
import sys

import admin_torch
import torch

from tensors import save

EMBED_DIM = 16

# The same list stands in admin_torch_test.cpp.
CASES = {
    "ConstantN12": (12, "O(n)", False),
    "ConstantN200": (200, "O(n)", False),
    "ConstantLogN2": (2, "O(logn)", False),
    "ConstantLogN12": (12, "O(logn)", False),
    "ConstantLogN36": (36, "default", False),
    "ConstantLogN300": (300, "O(logn)", False),
    "ConstantO1_12": (12, "O(1)", False),
    "ConstantO1_200": (200, "O(1)", False),
    "TrainedN12": (12, "O(n)", True),
    "TrainedN200": (200, "O(n)", True),
    "TrainedLogN12": (12, "O(logn)", True),
    "TrainedLogN36": (36, "default", True),
    "TrainedLogN300": (300, "O(logn)", True),
    "TrainedO1_12": (12, "O(1)", True),
    "TrainedO1_200": (200, "O(1)", True),
}


def make(case):
    num_res_layers, scale, as_parameter = case
    return admin_torch.as_module(
        num_res_layers, scale, as_parameter=as_parameter, embed_dim=EMBED_DIM if as_parameter else None
    )


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.pt"):
        old.unlink()
    torch.manual_seed(0)
    for name, case in CASES.items():
        residual = make(case)
        tensors = {"initial_omega": residual.omega.detach().clone()}
        if case[2]:  # as training would have left it
            with torch.no_grad():
                residual.omega.add_(torch.randn(EMBED_DIM))
        x, f_x, grad_y = torch.randn(3, 2, 5, EMBED_DIM).unbind()
        x = x.clone().requires_grad_()
        f_x = f_x.clone().requires_grad_()
        y = residual(x, f_x)
        y.backward(grad_y)
        tensors.update(x=x, f_x=f_x, y=y, grad_y=grad_y, omega=residual.omega)
        tensors.update(grad_x=x.grad, grad_f_x=f_x.grad)
        if case[2]:
            tensors.update(grad_omega=residual.omega.grad)
        save(folder / f"{name}.tensors.pt", tensors)
        # Of the scripted module only omega is read: TorchScript takes all constant OmegaResiduals
        # for one type, so its forward may be that of another.
        torch.jit.save(torch.jit.script(residual), folder / f"{name}.checkpoint.pt")
    print(f"{len(CASES)} cases, admin-torch 0.1.0, PyTorch {torch.__version__}")


def verify(folder):
    faults = []
    for name, case in CASES.items():
        state = torch.jit.load(folder / f"{name}.ours.pt").state_dict()
        ours = torch.jit.load(folder / f"{name}.ours_tensors.pt").state_dict()
        # A constant of 1 is not read by admin-torch's forward: it is made with the value instead.
        residual = (
            make(case) if case[2] else admin_torch.OmegaResidual(float(state["omega"][0]))
        )
        residual.load_state_dict(state, strict=True)
        y = residual(ours["x"], ours["f_x"])
        if not torch.equal(residual.omega, ours["omega"]):
            faults.append(f"{name}: omega {residual.omega} is not {ours['omega']}")
        elif residual.omega.shape != make(case).omega.shape:
            faults.append(f"{name}: omega has shape {tuple(residual.omega.shape)}")
        try:
            torch.testing.assert_close(y, ours["y"])
        except AssertionError as error:
            faults.append(f"{name}: outputs differ. {error}")
    print("\n".join(faults) or f"{len(CASES)} checkpoints of C++ read and their outputs equalled")
    return 1 if faults else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--verify", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder / "admin_torch"
    if arguments.verify:
        return verify(folder)
    write(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
