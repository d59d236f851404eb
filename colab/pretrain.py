# %% [markdown]
# # Pre-train: from raw text to an encoder, and what it is worth
#
# kbert learns a vocabulary from text, pre-trains BERT on masked words and next sentences, and
# fine-tunes what it learned. This notebook takes about four minutes on a CPU runtime. It is
# generated from `colab/pretrain.py`; tests run it from top to bottom on a CPU, in TensorFlow and as
# on a TPU in JAX. No TPU has run it.

# %% [markdown]
# ## Install
#
# `SOURCE` is a release, a wheel you uploaded (`"kbert_tf-0.1.0-py3-none-any.whl"`), or a
# repository (`"kbert-tf @ git+https://..."`). The versions are those that kbert is tested with. If
# the runtime has imported TensorFlow before this cell, restart it afterwards.

# %%
import glob
import importlib.util
import os
import shutil
import subprocess
import sys

SOURCE = "kbert-tf"
PINS = [
    "tensorflow==2.20.0",
    "tensorflow-text==2.20.1",
    "tensorflow-serving-api==2.20.0",
    "keras==3.15.1",
    "huggingface_hub==2.4.0",
    "safetensors==0.8.0",
]
GPU = shutil.which("nvidia-smi") is not None
TPU = bool(os.environ.get("TPU_NAME") or os.environ.get("TPU_ACCELERATOR_TYPE"))
TPU = TPU or bool(glob.glob("/dev/accel*"))

if importlib.util.find_spec("kbert") is None:
    name, at, place = SOURCE.partition(" @ ")
    extra = "[gpu]" if GPU else ""
    wanted = f"{name}{extra}{at}{place}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", wanted, *PINS], check=True)
if TPU:
    # the network in JAX, which comes with the runtime; text and files stay TensorFlow's
    os.environ["KERAS_BACKEND"] = "jax"
print("runtime:", "TPU" if TPU else "GPU" if GPU else "CPU")

# %% [markdown]
# ## A real run: two lines
#
# Put your text as `CORPUS`: one sentence a line with a blank line between documents, JSON lines,
# Parquet, `.gz`, any number of files; and as `TRAIN` and `DEV` labelled rows to see what the
# encoder is worth. Of real text a useful encoder needs hours on a GPU; `kbert pretrain
# --recipe=...` has the published recipes. Left empty, the cells below take what ships with kbert: a
# text that reads like an index of what the departments of a town deal with, in which words that
# belong together stand together, so a small encoder learns from it within minutes.

# %%
CORPUS = ""  # such as "corpus/*.jsonl.gz"
TRAIN, DEV = "", ""  # such as "train.tsv", "dev.tsv", with the columns text and label

if CORPUS:
    SIZE, ROWS = 30522, None
    FLAGS = ["--shape=4x256", "--steps=100000", "--batch_size=256"]
else:
    SIZE, ROWS = 3000, 300
    # short rows, wide weights and a high rate suit so small a network
    FLAGS = [
        *("--shape=2x64", "--steps=3000", "--batch_size=64", "--warmup_steps=60"),
        *("--max_seq_length=32", "--max_predictions_per_seq=8", "--masked_lm_prob=0.25"),
        *("--optimizer=adamw", "--learning_rate=5e-3", "--initializer_range=0.07", "--dropout=0"),
    ]

# %% [markdown]
# ## Text


# %%
def kbert_command(*arguments, **variables):
    print("$ kbert", *arguments, flush=True)
    command = [sys.executable, "-m", "kbert", *arguments]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")


kbert_command("quickstart", "--dir=quickstart", "--files_only")
if not CORPUS:
    CORPUS = "quickstart/data/text.txt"
    with open(CORPUS, encoding="utf-8") as file:
        print("".join(next(file) for _ in range(12)))
if not TRAIN:
    TRAIN, DEV = "quickstart/data/train.tsv", "quickstart/data/dev.tsv"

# %% [markdown]
# ## Vocabulary
#
# WordPiece. The report in its last line counts what the vocabulary covers.

# %%
kbert_command("vocabulary", f"--input={CORPUS}", f"--size={SIZE}", "--output=vocabulary")

# %% [markdown]
# ## Pre-train
#
# Pairs and masks are made anew in each epoch. Stopped half-way? Run the cell again: it resumes.

# %%
kbert_command(
    "pretrain", f"--corpus={CORPUS}", "--vocabulary=vocabulary", "--output=pretrained", *FLAGS
)

# %% [markdown]
# ## The curve
#
# The dashed line is the entropy of single words: what a model reaches that knows how frequent each
# is, and nothing of the words around it. While the loss sits there, nothing has been learned yet.

# %%
import json  # noqa: E402

import matplotlib.pyplot as plt  # noqa: E402

with open("pretrained/report/metrics.json", encoding="utf-8") as file:
    report = json.load(file)
names, points = report["names"], report["points"]
columns = {name: [point[i] for point in points] for i, name in enumerate(names)}
entropy = report["unigram_entropy"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
left.plot(columns["step"], columns["masked_lm"])
left.axhline(entropy, linestyle="--", color="gray")
left.text(0.98, entropy, "unigram entropy", transform=left.get_yaxis_transform(), ha="right")
left.set(xlabel="step", ylabel="loss", title="masked words", ylim=(0, None))
right.plot(columns["step"], columns["next_sentence_accuracy"])
right.axhline(0.5, linestyle="--", color="gray")
right.set(xlabel="step", ylabel="accuracy", title="next sentence", ylim=(0, 1))
plt.show()
reached = sum(columns["masked_lm"][-20:]) / 20
print(f"masked words: loss {reached:.2f}, unigram entropy {entropy:.2f}")
assert reached < entropy - 0.5

# %% [markdown]
# ## What it is worth
#
# Messages to the town's service desk, and the department that each belongs to. The same classifier
# learns from the first `ROWS` twice: from the pre-trained encoder, and from one of the same shape
# whose weights start anew.

# %%
import csv  # noqa: E402
from collections import Counter  # noqa: E402

import kbert  # noqa: E402


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["text"] for row in rows], [row["label"] for row in rows]


train_texts, train_labels = read(TRAIN)
dev_texts, dev_labels = read(DEV)
labels = sorted(set(train_labels))


def learned(**start):
    """A model, and its accuracy on the held-out messages."""
    model = kbert.load(
        "pretrained/model", task="classification", labels=labels, max_length=48, seed=1, **start
    )
    model.compile(learning_rate=1e-3)
    model.fit(train_texts[:ROWS], train_labels[:ROWS], epochs=12, group_by_length=False, verbose=0)
    said = model.predict(dev_texts)
    right = sum(row["label"] == label for row, label in zip(said, dev_labels, strict=True))
    return model, right / len(dev_labels)


model, pretrained = learned()
_, baseline = learned(new_weights=("encoder",))
frequent = Counter(train_labels).most_common(1)[0][0]
majority = sum(label == frequent for label in dev_labels) / len(dev_labels)

# %%
figure, axes = plt.subplots(figsize=(6, 1.8), layout="constrained")
bars = axes.barh(["random weights", "pre-trained"], [baseline, pretrained])
axes.bar_label(bars, fmt="{:.0%}", padding=3)
axes.axvline(majority, linestyle="--", color="gray")
axes.set(xlim=(0, 1), xlabel=f"accuracy on {len(dev_labels)} held-out rows")
plt.show()

# %% [markdown]
# ## Save, and export
#
# `notebook_model` is a Hugging Face model directory; so is `pretrained/model`, which transformers
# and every command of kbert open. The export is TensorFlow's whatever computed the training.

# %%
model.save("notebook_model")
kbert_command(
    *("export", "--model=notebook_model", "--target=notebook_export"),
    KERAS_BACKEND="tensorflow",
    CUDA_VISIBLE_DEVICES="",
)

# %% [markdown]
# ## The figure, against the baseline

# %%
print(
    f"accuracy {pretrained:.1%} on {len(dev_labels)} held-out messages; "
    f"baseline of random weights {baseline:.1%}"
)
assert pretrained > baseline + 0.1
