# %% [markdown]
# # Fine-tune, look, export, ask
#
# kbert takes labelled text to a SavedModel that answers raw strings. This notebook takes about two
# minutes on a CPU runtime, and picks up what a GPU or TPU runtime has. It is generated from
# `colab/finetune.py`; tests run it from top to bottom on a CPU, in TensorFlow and as on a TPU in
# JAX. No TPU has run it.

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
# ## Data, and a model to start from
#
# The data shipped with kbert are messages to a town's service desk and the department that each
# belongs to; the model is a small encoder of random weights. Put your own files in their place,
# and as `MODEL` a model directory or a name from the Hugging Face hub, such as
# `"google-bert/bert-base-uncased"` (then `LEARNING_RATE = 5e-5` and three epochs).

# %%
folder = "quickstart"
subprocess.run(
    [sys.executable, "-m", "kbert", "quickstart", f"--dir={folder}", "--files_only"], check=True
)

TRAIN, DEV = f"{folder}/data/train.tsv", f"{folder}/data/dev.tsv"
MODEL = f"{folder}/start"
LEARNING_RATE, EPOCHS, MAX_LENGTH = 5e-4, 6, 48

# %% [markdown]
# ## Look at the data

# %%
import csv  # noqa: E402
from collections import Counter  # noqa: E402


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["text"] for row in rows], [row["label"] for row in rows]


train_texts, train_labels = read(TRAIN)
dev_texts, dev_labels = read(DEV)
labels = sorted(set(train_labels))
print(f"{len(train_texts)} rows to train on, {len(dev_texts)} held out, {len(labels)} labels")
for label in labels:
    print(f"{label:<8} {train_texts[train_labels.index(label)]}")

counts = Counter(train_labels)
frequent = counts.most_common(1)[0][0]
baseline = sum(label == frequent for label in dev_labels) / len(dev_labels)
print(f"always answering {frequent!r} is right on {baseline:.1%} of the held-out rows")

# %% [markdown]
# ## Load
#
# `devices.strategy()` takes what the runtime has: one device, or all its GPUs. The report says what
# became of every weight; the head is new.

# %%
import kbert  # noqa: E402
from kbert.train import devices  # noqa: E402

strategy = devices.strategy()
with strategy.scope():
    model = kbert.load(MODEL, task="classification", labels=labels, max_length=MAX_LENGTH, seed=1)
    model.compile(learning_rate=LEARNING_RATE)
print(model.report)
print(f"replicas: {strategy.num_replicas_in_sync}")

# %%
import matplotlib.pyplot as plt  # noqa: E402

lengths = model.lengths({"text": train_texts})
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
left.barh(labels, [counts[label] for label in labels])
left.set(xlabel="training rows", title="labels")
left.invert_yaxis()
right.hist(lengths, bins=range(0, int(lengths.max()) + 2, 2))
right.axvline(MAX_LENGTH, linestyle="--", color="gray")
right.text(MAX_LENGTH, right.get_ylim()[1] * 0.95, "cut here ", va="top", ha="right", color="gray")
right.set(xlabel="tokens of a text", ylabel="training rows", title="lengths")
plt.show()

# %% [markdown]
# ## Fine-tune: a Keras model that takes raw text

# %%
history = model.fit(
    train_texts,
    train_labels,
    epochs=EPOCHS,
    validation_data=(dev_texts, dev_labels),
    group_by_length=False,  # so few rows teach more in batches of mixed lengths
    verbose=2,
)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
epochs = range(1, EPOCHS + 1)
for axes, name in ((left, "loss"), (right, "accuracy")):
    axes.plot(epochs, history.history[name], marker="o", label="training")
    axes.plot(epochs, history.history[f"val_{name}"], marker="o", label="held out")
    axes.set(xlabel="epoch", ylabel=name)
left.set_ylim(bottom=0)
right.set_ylim(0, 1)
right.axhline(baseline, linestyle="--", color="gray", label="most frequent label")
left.legend()
right.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## Where it errs

# %%
import numpy as np  # noqa: E402

answers = model.predict(dev_texts)
confusion = np.zeros((len(labels), len(labels)), int)
for gold, answer in zip(dev_labels, answers, strict=True):
    confusion[labels.index(gold), labels.index(answer["label"])] += 1

figure, axes = plt.subplots(figsize=(5.2, 4.4), layout="constrained")
axes.imshow(confusion, cmap="Blues")
for row, column in np.ndindex(*confusion.shape):
    dark = confusion[row, column] > confusion.max() / 2
    color = "white" if dark else "black"
    axes.text(column, row, confusion[row, column], ha="center", va="center", color=color)
axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
axes.set_yticks(range(len(labels)), labels)
axes.set(xlabel="answered", ylabel="belongs to")
plt.show()

wrong = [
    (max(answer["probabilities"]), gold, answer["label"], text)
    for text, gold, answer in zip(dev_texts, dev_labels, answers, strict=True)
    if answer["label"] != gold
]
for sure, gold, said, text in sorted(wrong, reverse=True)[:5]:
    print(f"{said} ({sure:.0%}), but {gold}: {text}")

# %% [markdown]
# ## Save, and export
#
# `notebook_model` is a Hugging Face model directory. The export is made in a process of its own,
# as it is TensorFlow's whatever computed the training.

# %%
model.save("notebook_model")
on_cpu = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
exporting = [
    *(sys.executable, "-m", "kbert", "export"),
    *("--model=notebook_model", "--target=notebook_export"),
]
done = subprocess.run(exporting, env=on_cpu, check=True, stdout=subprocess.PIPE, text=True)
path = done.stdout.strip()
print(path)

# %% [markdown]
# ## Ask the export: it needs TensorFlow and TensorFlow Text only

# %%
import tensorflow as tf  # noqa: E402

with tf.device("CPU"):
    served = tf.saved_model.load(path).signatures["serving_default"]
    questions = ["The bus stop sign was knocked over.", "Can I borrow films as well as books?"]
    found = served(text=tf.constant(questions))
for question, label in zip(questions, found["label"].numpy(), strict=True):
    print(f"{question} -> {label.decode()}")

# %%
figure, plots = plt.subplots(1, len(questions), figsize=(10, 2.6), layout="constrained")
for axes, question, shares in zip(plots, questions, found["probabilities"].numpy(), strict=True):
    axes.barh(labels, shares)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="probability", title=question)
    axes.title.set_fontsize(10)
plt.show()

# %% [markdown]
# ## The figure, against the baseline

# %%
with tf.device("CPU"):
    said = served(text=tf.constant(dev_texts))["label"].numpy()
right = [found.decode() == label for found, label in zip(said, dev_labels, strict=True)]
accuracy = sum(right) / len(right)
print(
    f"accuracy {accuracy:.1%} of the export on {len(right)} held-out rows; "
    f"majority baseline {baseline:.1%}"
)
assert accuracy > baseline + 0.3
