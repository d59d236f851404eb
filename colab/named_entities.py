# %% [markdown]
# # Named entities: fine-tune, look, export, ask
#
# From words and their tags to a SavedModel that finds the entities of raw text, as with CoNLL-2003.
# As it stands the notebook writes its own data, starts from a small encoder of random weights and
# takes about a minute on a CPU runtime. Two lines below make it a real run. It is generated from
# `colab/named_entities.py`; tests run it from top to bottom on a CPU.

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
# Put a model of the Hugging Face hub, or a model directory, as `MODEL`, and column files (a word a
# line, its tag last, a blank line after each sentence) as `TRAIN` and `DEV`. Left empty, the cells
# below make small ones.

# %%
MODEL = ""  # such as "google-bert/bert-base-cased"
TRAIN, DEV = "", ""  # such as "eng.train.conll", "eng.testa.conll"

if MODEL:
    LEARNING_RATE, EPOCHS, BATCH_SIZE, MAX_LENGTH = 5e-5, 3, 16, 128
else:
    LEARNING_RATE, EPOCHS, BATCH_SIZE, MAX_LENGTH = 1e-3, 6, 16, 48

# %% [markdown]
# ## Data, and a model to start from
#
# The small data are sentences of a local paper. Names are drawn from syllables: half of them come
# again and again, as a person, a place or a company, the others are new. So what a name is, its
# sentence tells, not the name.

# %%
import json  # noqa: E402
import random  # noqa: E402

SYLLABLES = [
    *("ba", "bel", "ca", "cor", "da", "del", "e", "fa", "fen", "ga", "gra", "ha", "hol", "in"),
    *("ja", "kar", "la", "lin", "lo", "ma", "mer", "na", "nor", "o", "pa", "pel", "ra", "rin"),
    *("sa", "sel", "ta", "tor", "u", "va", "vin", "wa", "wes"),
]
SENTENCES = [
    "PER moved to LOC in spring .",
    "PER works for ORG in LOC .",
    "ORG opened an office near LOC .",
    "Yesterday PER met PER at the station .",
    "The road from LOC to LOC is closed .",
    "Shares of ORG fell after PER left .",
    "ORG has bought ORG , said PER .",
    "It rained all day in LOC .",
    "Nobody answers the phone at ORG .",
    "Mrs PER lives near LOC .",
    "The director of ORG , PER , was born in LOC .",
    "Trains to LOC leave at nine .",
    "We asked PER about the noise .",
    "The bins are full again .",
]


def name(rng):
    return "".join(rng.choices(SYLLABLES, k=2)).capitalize()


KNOWN = [name(random.Random(seed)) for seed in range(40)]


def entity(rng, kind):
    found = [rng.choice(KNOWN) if rng.random() < 0.5 else name(rng)]
    if rng.random() < 0.5:
        found.append({"PER": name(rng), "LOC": "Bay", "ORG": rng.choice(["Bank", "Works"])}[kind])
    return [(word, f"{'I' if i else 'B'}-{kind}") for i, word in enumerate(found)]


def write(path, count, seed):
    rng = random.Random(seed)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            for word in rng.choice(SENTENCES).split():
                known = word in ("PER", "LOC", "ORG")
                for pair in entity(rng, word) if known else [(word, "O")]:
                    print(*pair, file=file)
            print(file=file)


if not TRAIN:
    TRAIN, DEV = "train.conll", "dev.conll"
    write(TRAIN, 400, seed=1)
    write(DEV, 200, seed=2)

if not MODEL:
    MODEL = "quickstart/start"
    command = [sys.executable, "-m", "kbert", "quickstart", "--dir=quickstart", "--files_only"]
    subprocess.run(command, check=True)
    # so small a model has to see few rows often, and learns them sooner without dropout
    with open(f"{MODEL}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    config["hidden_dropout_prob"] = config["attention_probs_dropout_prob"] = 0.0
    with open(f"{MODEL}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)

# %% [markdown]
# ## Look at the data
#
# The baseline is that of CoNLL's shared tasks: a dictionary of what the training rows hold. Each
# word gets the tag that it has most often there, O if it is new. F1 is that of whole entities.

# %%
from collections import Counter, defaultdict  # noqa: E402

from seqeval.metrics import f1_score  # noqa: E402


def read(path):
    """Lists of words, and of tags."""
    with open(path, encoding="utf-8") as file:
        blocks = [block.split("\n") for block in file.read().split("\n\n") if block.strip()]
    rows = [[line.split() for line in block if line.strip()] for block in blocks]
    rows = [row for row in rows if row[0][0] != "-DOCSTART-"]
    return [[cells[0] for cells in row] for row in rows], [[cells[-1] for cells in r] for r in rows]


train_words, train_tags = read(TRAIN)
dev_words, dev_tags = read(DEV)
kinds = sorted({tag[2:] for tags in train_tags for tag in tags if tag != "O"})
labels = ["O", *(f"{letter}-{kind}" for kind in kinds for letter in "BI")]
print(f"{len(train_words)} sentences to train on, {len(dev_words)} held out; {', '.join(kinds)}")
for row in range(3):
    print(*(f"{w}/{t}" for w, t in zip(train_words[row], train_tags[row], strict=True)))

seen = defaultdict(Counter)
for words, tags in zip(train_words, train_tags, strict=True):
    for word, tag in zip(words, tags, strict=True):
        seen[word][tag] += 1
guessed = [[max(seen[w], key=seen[w].get) if w in seen else "O" for w in row] for row in dev_words]
baseline = f1_score(dev_tags, guessed)
print(f"the dictionary has an F1 of {baseline:.3f} on the held-out sentences")

# %% [markdown]
# ## Load, and fine-tune: a Keras model that takes words and tags
#
# A word's tag is learned and read at its first piece. The report says what became of every weight;
# the head is new.

# %%
import kbert  # noqa: E402
from kbert.train import devices  # noqa: E402

strategy = devices.strategy()
with strategy.scope():
    model = kbert.load(
        MODEL, task="token_classification", labels=labels, max_length=MAX_LENGTH, seed=1
    )
    model.compile(learning_rate=LEARNING_RATE)
print(model.report)
history = model.fit(
    train_words,
    train_tags,
    batch_size=BATCH_SIZE,
    epochs=EPOCHS,
    group_by_length=False,  # so few rows teach more in batches of mixed lengths
    verbose=2,
)

# %% [markdown]
# ## Save, and score with the metric of CoNLL
#
# `notebook_model` is a Hugging Face model directory. `kbert evaluate` gives precision, recall and
# F1 by seqeval, and writes the errors, those with most entities missed or extra first. It and the
# export below run in processes of their own, in TensorFlow whatever computed the training.

# %%
model.save("notebook_model")
on_cpu = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}


def run(*arguments):
    """The last line that a command of kbert prints."""
    command = [sys.executable, "-m", "kbert", *arguments]
    done = subprocess.run(command, env=on_cpu, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


metrics = json.loads(
    run("evaluate", "--model=notebook_model", f"--data={DEV}", "--errors=errors.jsonl")
)
print(", ".join(f"{name} {metrics[name]:.3f}" for name in ("precision", "recall", "f1")))

with open("errors.jsonl", encoding="utf-8") as file:
    errors = [json.loads(line) for line in file]


def named(entities):
    return ", ".join(f"{entity['text']} ({entity['label']})" for entity in entities) or "none"


for row in errors[:5]:
    said = f"missed {named(row['missed'])}; extra {named(row['extra'])}"
    print(f"line {row['line']}: {said}: {' '.join(row['words'])}")

# %%
import matplotlib.pyplot as plt  # noqa: E402

missed = Counter(entity["label"] for row in errors for entity in row["missed"])
there = Counter(tag[2:] for tags in dev_tags for tag in tags if tag[0] == "B")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
left.plot(range(1, EPOCHS + 1), history.history["loss"], marker="o")
left.set(xlabel="epoch", ylabel="loss", title="training")
left.set_ylim(bottom=0)
right.barh(kinds, [there[kind] for kind in kinds], label="held out")
right.barh(kinds, [there[kind] - missed[kind] for kind in kinds], label="found")
right.set(xlabel="entities", title="by type")
right.invert_yaxis()
right.legend()
plt.show()

# %% [markdown]
# ## Ask the model about a text of your own

# %%
TEXTS = ["Mrs Holva Lomer lives near Vinta Bay.", "Shares of Melba Works fell after Torna left."]
for text, row in zip(TEXTS, model.predict(TEXTS), strict=True):
    for one in row["entities"]:
        assert text[one["start"] : one["end"]] == one["text"]
    print(f"{text} {named(row['entities'])}")

# %% [markdown]
# ## Export, and ask the SavedModel: it needs TensorFlow and TensorFlow Text only
#
# Of texts it gives entities, filled up to the most that a text has; `count` says how many.

# %%
path = run("export", "--model=notebook_model", "--target=notebook_export")
print(path)

# %%
import tensorflow as tf  # noqa: E402

with tf.device("CPU"):
    signatures = tf.saved_model.load(path).signatures
    found = signatures["serving_default"](text=tf.constant(TEXTS))
for row, text in enumerate(TEXTS):
    for one in range(int(found["count"][row])):
        start, end = int(found["entity_start"][row, one]), int(found["entity_end"][row, one])
        label = found["entity_label"][row, one].numpy().decode()
        print(f"{label} {text[start:end]!r}, characters {start} to {end} of {text!r}")

# %% [markdown]
# ## The figure, against the baseline
#
# Words that are cut already have a signature of their own, `words`: a row is filled up with "".

# %%
width = max(map(len, dev_words))
said = []
with tf.device("CPU"):
    for first in range(0, len(dev_words), 32):
        some = dev_words[first : first + 32]
        padded = [row + [""] * (width - len(row)) for row in some]
        tags = signatures["words"](words=tf.constant(padded))["tags"].numpy()
        said += [[tag.decode() for tag in row[: len(w)]] for row, w in zip(tags, some, strict=True)]
score = f1_score(dev_tags, said)
assert abs(score - metrics["f1"]) < 0.005, "the export answers as the model does"
print(
    f"F1 {score:.3f} of the export on {len(dev_words)} held-out sentences; "
    f"baseline of the dictionary {baseline:.3f}"
)
assert score > baseline + 0.3
