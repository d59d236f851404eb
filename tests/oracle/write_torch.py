"""Run by the interpreter that has torch: writes what torch.save makes of many kinds of tensors.

python write_torch.py FOLDER: FORM-PROTOCOL.bin, and numbers.npz with the bits of each tensor.
"""

import collections
import pathlib
import sys

import numpy as np
import torch

folder = pathlib.Path(sys.argv[1])
table = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
state = collections.OrderedDict()
for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8"):
    state[name] = (table * 20).to(getattr(torch, name))
state["uint8"] = (table * 20).abs().to(torch.uint8)
state["bool"] = table > 0
state["transposed"] = table.t()
state["part"] = table[2:5, 1:4]
state["every_other"] = table[::2, ::2]
state["scalar"] = torch.tensor(3.5)
state["empty"] = torch.zeros(0, 4)
state["expanded"] = torch.arange(7).expand((1, -1))
state["parameter"] = torch.nn.Parameter(table.clone())
state["tied"] = state["parameter"]
# with versions of its modules beside, as state_dict has them
layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4)).state_dict()
layers.update(state)

for form in ("zip", "pickle"):
    for protocol in (2, 3, 4, 5):
        torch.save(
            layers,
            folder / f"{form}-{protocol}.bin",
            _use_new_zipfile_serialization=form == "zip",
            pickle_protocol=protocol,
        )
bits = {}
for name, value in layers.items():
    value = value.detach().contiguous()
    bits[name] = (value.view(torch.int16) if name == "bfloat16" else value).numpy()
np.savez(folder / "numbers.npz", **bits)
torch.save(torch.nn.Linear(2, 2), folder / "module.bin")
torch.save({"a": table.to_sparse()}, folder / "sparse.bin")
torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / "script.bin"))
