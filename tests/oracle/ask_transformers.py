"""Runs under the oracle's own interpreter: texts on standard input, what transformers says back.

ask_transformers.py DIRECTORY < {"text": [...], "text_pair": [...] or null}
"""

import json
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

directory = sys.argv[1]
texts = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(directory)
model, info = AutoModelForSequenceClassification.from_pretrained(
    directory, output_loading_info=True
)
encoded = tokenizer(
    texts["text"],
    texts["text_pair"],
    padding=True,
    truncation=True,
    max_length=texts["max_length"],
    return_tensors="pt",
)
with torch.inference_mode():
    logits = model.eval()(**encoded).logits
json.dump(
    {
        "ids": encoded["input_ids"].tolist(),
        "logits": logits.tolist(),
        "labels": [model.config.id2label[i] for i in logits.argmax(-1).tolist()],
        "missing": sorted(map(str, info["missing_keys"])),
        "unexpected": sorted(map(str, info["unexpected_keys"])),
    },
    sys.stdout,
)
