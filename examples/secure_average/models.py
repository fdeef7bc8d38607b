"""Models to try it with: python models.py NAME... writes NAME.safetensors with weights of its own."""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file

for seed, name in enumerate(sys.argv[1:]):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(64, 128), torch.nn.BatchNorm1d(128), torch.nn.Linear(128, 10)
    )
    save_file(network.state_dict(), f"{name}.safetensors")
