"""A small vocabulary, and documents of its words."""

import numpy as np

TOY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *(f"w{k}" for k in range(80)),
    *(f"##s{k}" for k in range(20)),
)


def toy_documents(count, seed=0, sentences=12, words=15):
    """Documents of sentences of words of the toy vocabulary."""
    rng = np.random.default_rng(seed)

    def sentence():
        size = rng.integers(1, words + 1)
        ends = np.where(rng.random(size) < 0.25, rng.integers(0, 20, size), -1)
        return " ".join(
            f"w{k}" + (f"s{end}" if end >= 0 else "")
            for k, end in zip(rng.integers(0, 80, size), ends, strict=True)
        )

    return [[sentence() for _ in range(rng.integers(1, sentences + 1))] for _ in range(count)]


def as_text(documents) -> str:
    return "\n\n".join("\n".join(document) for document in documents) + "\n"
