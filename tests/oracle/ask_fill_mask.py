"""Runs under the oracle's own interpreter: what transformers says about masks.

ask_fill_mask.py DIRECTORY < {"text": [...], "plain": [...], "top_k": k}
"""

import json
import sys

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

directory = sys.argv[1]
asked = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(directory)
model = AutoModelForMaskedLM.from_pretrained(directory).eval()
fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=asked["top_k"], device="cpu")
found = []
for text in asked["text"]:
    answer = fill(text)
    slots = answer if isinstance(answer[0], list) else [answer]
    found.append([[(tokenizer.convert_ids_to_tokens(x["token"]), x["score"]) for x in slot]
                  for slot in slots])  # fmt: skip
likelihoods = []
for text in asked["plain"]:
    ids = tokenizer(text, return_tensors="pt")["input_ids"][0]
    inner = range(1, len(ids) - 1)
    rows = ids.repeat(len(inner), 1)
    for row, place in enumerate(inner):
        rows[row, place] = tokenizer.mask_token_id
    with torch.inference_mode():
        chances = model(input_ids=rows).logits.log_softmax(-1)
    likelihoods.append(sum(float(chances[r, p, ids[p]]) for r, p in enumerate(inner)))
json.dump({"tokens": found, "likelihoods": likelihoods}, sys.stdout)
