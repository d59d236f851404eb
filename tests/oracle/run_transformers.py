"""Runs under the interpreter that has transformers: opens directories, says what they compute.

run_transformers.py FOLDER reads FOLDER/jobs.json, a list of {"name", "class"}: loads FOLDER/NAME
with that class of transformers and writes the outputs for NAME/inputs.npz to NAME/theirs.npz, and
the names of weights that it missed or did not expect to NAME/theirs.json.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers

NAMES = {
    "last_hidden_state": "sequence_output",
    "pooler_output": "pooled_output",
    "prediction_logits": "masked_lm",
    "seq_relationship_logits": "next_sentence",
}


def main(folder):
    for job in json.loads((folder / "jobs.json").read_text()):
        place = folder / job["name"]
        cls = getattr(transformers, job["class"])
        model, info = cls.from_pretrained(
            place, output_loading_info=True, attn_implementation="eager"
        )
        inputs = {k: torch.from_numpy(v) for k, v in np.load(place / "inputs.npz").items()}
        with torch.inference_mode():
            out = model.eval()(**{k: v.long() for k, v in inputs.items()})
        found = {NAMES[key]: value.numpy() for key, value in out.items() if key in NAMES}
        if "start_logits" in out:
            found["span"] = np.stack([out["start_logits"].numpy(), out["end_logits"].numpy()])
        elif "logits" in out:
            found["masked_lm" if "LM" in job["class"] else "classifier"] = out["logits"].numpy()
        np.savez(place / "theirs.npz", **found)
        loading = {k: sorted(map(str, info[f"{k}_keys"])) for k in ("missing", "unexpected")}
        (place / "theirs.json").write_text(json.dumps(loading))


main(pathlib.Path(sys.argv[1]))
