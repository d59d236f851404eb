"""Runs under the oracle's own interpreter: ids that the tokenizers of transformers give.

ask_tokenizer.py DIRECTORY < ["text", ...]
"""

import json
import sys

from transformers import AutoTokenizer, BertTokenizer

texts = json.load(sys.stdin)
found = {}
for kind in (AutoTokenizer, BertTokenizer):
    tokenizer = kind.from_pretrained(sys.argv[1])
    found[kind.__name__] = tokenizer(texts)["input_ids"]
json.dump(found, sys.stdout)
