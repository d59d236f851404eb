# %% [markdown]
# # Fine-tune, look, export, ask
#
# kbert takes labelled text to a SavedModel that answers raw strings. This notebook runs on a CPU
# runtime in a few minutes; it is generated from `colab/finetune.py`, which the tests run.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("kbert") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "kbert-tf[serve]"], check=True)

# %% [markdown]
# ## Data, and a model to start from
#
# `kbert quickstart` runs the whole way once on a small data set written for kbert, messages to a
# town's service desk, and leaves the data and a small encoder of random weights in `quickstart/`.
# Put your own files and a Hugging Face model directory in their place.

# %%
subprocess.run([sys.executable, "-m", "kbert", "quickstart", "--dir=quickstart"], check=True)

TRAIN, DEV = "quickstart/data/train.tsv", "quickstart/data/dev.tsv"
MODEL = "quickstart/start"

# %%
import csv  # noqa: E402
from collections import Counter  # noqa: E402


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["text"] for row in rows], [row["label"] for row in rows]


train_texts, train_labels = read(TRAIN)
dev_texts, dev_labels = read(DEV)
for text, label in list(zip(train_texts, train_labels, strict=True))[:5]:
    print(f"{label:<8} {text}")
frequent = Counter(train_labels).most_common(1)[0][0]
baseline = sum(label == frequent for label in dev_labels) / len(dev_labels)
print(f"always answering {frequent!r} is right on {baseline:.1%} of dev")

# %% [markdown]
# ## Fine-tune: a Keras model that takes raw text

# %%
import kbert  # noqa: E402

model = kbert.load(
    MODEL, task="classification", labels=sorted(set(train_labels)), max_length=48, seed=1
)
print(model.report)
model.compile(learning_rate=5e-4)
history = model.fit(
    train_texts, train_labels, epochs=10, validation_data=(dev_texts, dev_labels), verbose=2
)

# %%
import matplotlib.pyplot as plt  # noqa: E402

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name in ("accuracy", "val_accuracy"):
    axes.plot(range(1, 11), history.history[name], marker="o", label=name)
axes.axhline(baseline, linestyle="--", color="gray", label="majority")
axes.set(xlabel="epoch", ylabel="accuracy")
axes.legend()
plt.show()

# %% [markdown]
# ## Export, and ask the export: it needs TensorFlow and TensorFlow Text only

# %%
import tensorflow as tf  # noqa: E402

path = model.export("notebook_export")
served = tf.saved_model.load(str(path)).signatures["serving_default"]
questions = ["The bus stop sign was knocked over.", "Can I borrow films as well as books?"]
answers = served(text=tf.constant(questions))
for question, label in zip(questions, answers["label"].numpy(), strict=True):
    print(f"{question} -> {label.decode()}")

# %% [markdown]
# ## The figure, against the baseline

# %%
said = served(text=tf.constant(dev_texts))["label"].numpy()
right = [found.decode() == label for found, label in zip(said, dev_labels, strict=True)]
accuracy = sum(right) / len(right)
print(f"accuracy {accuracy:.1%} of the exported model; majority baseline {baseline:.1%}")
assert accuracy > baseline + 0.2
