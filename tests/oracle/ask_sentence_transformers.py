"""Run by the interpreter that has sentence-transformers.

python ask_sentence_transformers.py DIRECTORY: JSON {"texts"} in, {"vectors", "similarity" of all
with all, "longest"} out. With {"pooling", "normalize", "longest", "save"} in, it first makes such
a model of the encoder in DIRECTORY, and saves it there.
"""

import json
import pathlib
import sys

from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer

asked = json.load(sys.stdin)
if "save" in asked:
    encoder = Transformer(sys.argv[1], max_seq_length=asked["longest"])
    modules = [encoder, Pooling(encoder.get_embedding_dimension(), asked["pooling"])]
    modules += [Normalize()] if asked["normalize"] else []
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save(asked["save"], create_model_card=False)
else:
    model = SentenceTransformer(sys.argv[1], device="cpu")
vectors = model.encode(asked["texts"], show_progress_bar=False)
found = {
    "vectors": vectors.tolist(),
    "similarity": model.similarity(vectors, vectors).tolist(),
    "longest": model.max_seq_length,
    "files": sorted(p.name for p in pathlib.Path(asked.get("save", sys.argv[1])).iterdir()),
}
print(json.dumps(found))
