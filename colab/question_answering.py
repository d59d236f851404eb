# %% [markdown]
# # Questions and answers: fine-tune, look, export, ask
#
# From questions on a text to a SavedModel that points at the answer, as with SQuAD. As it stands
# the notebook writes its own data, starts from a small encoder of random weights and takes about
# two minutes on a CPU runtime. Two lines below make it a real run. It is generated from
# `colab/question_answering.py`; tests run it from top to bottom on a CPU.

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
# Put a model of the Hugging Face hub, or a model directory, as `MODEL`, and files in SQuAD's form
# as `TRAIN` and `DEV`. Left empty, the cells below make small ones.

# %%
MODEL = ""  # such as "google-bert/bert-base-uncased"
TRAIN, DEV = "", ""  # such as "train-v1.1.json", "dev-v1.1.json"

if MODEL:
    LEARNING_RATE, EPOCHS, BATCH_SIZE, MAX_LENGTH = 3e-5, 2, 16, 384
else:
    LEARNING_RATE, EPOCHS, BATCH_SIZE, MAX_LENGTH = 1e-3, 8, 16, 64

# %% [markdown]
# ## Data, and a model to start from
#
# The small data are the chronicle of a town: who did what to a building, when, and where it stands.
# Names of people and streets are drawn from syllables, and are new in the held-out part.

# %%
import json  # noqa: E402
import random  # noqa: E402

SYLLABLES = [
    *("ba", "bel", "ca", "cor", "da", "del", "e", "fa", "fen", "ga", "gra", "ha", "hol", "in"),
    *("ja", "kar", "la", "lin", "lo", "ma", "mer", "na", "nor", "o", "pa", "pel", "ra", "rin"),
    *("sa", "sel", "ta", "tor", "u", "va", "vin", "wa", "wes"),
]
GIVEN = ["Ada", "Bert", "Clara", "Daniel", "Edith", "Frank", "Greta", "Henry", "Irma", "Jacob"]
MONTHS = ["January", "March", "April", "May", "June", "July", "August", "September", "October"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WORKS = ["built", "repaired", "painted", "opened"]
THINGS = [
    *("the bridge", "the library", "the town hall", "the old mill", "the water tower"),
    *("the school", "the bus stop", "the market hall", "the fountain", "the swimming pool"),
]


def name(rng):
    return "".join(rng.choices(SYLLABLES, k=2)).capitalize()


def paragraph(rng, number):
    thing, work = rng.choice(THINGS), rng.choice(WORKS)
    who = f"{rng.choice([rng.choice(GIVEN), name(rng)])} {name(rng)}"
    when = f"{rng.randint(1, 28)} {rng.choice(MONTHS)}"
    if rng.random() < 0.5:
        when = f"{rng.choice(DAYS)} {when}"
    where = f"{name(rng)} {rng.choice(['Street', 'Lane', 'Square'])}"
    it, cost = thing.capitalize(), rng.randint(20, 90) * 10
    sentences = [
        rng.choice(
            [f"{it} was {work} by {who}.", f"{who} {work} {thing}.", f"It was {who} who did it."]
        ),
        rng.choice([f"That was on {when}.", f"The date is {when}.", f"It was ready by {when}."]),
        rng.choice([f"{it} stands in {where}.", f"You find it in {where}.", f"Go to {where}."]),
        rng.choice(["The mayor was there.", "A band played.", f"It cost {cost} pounds."]),
    ]
    rng.shuffle(sentences)
    context = " ".join(sentences)
    asked = [
        (f"Who {work} {thing}?", who),
        (f"When was {thing} {work}?", when),
        (f"Where is {thing}?", where),
    ]
    questions = [
        {
            "id": f"{number}-{i}",
            "question": question,
            "answers": [{"text": text, "answer_start": context.index(text)}],
        }
        for i, (question, text) in enumerate(asked)
    ]
    return {"context": context, "qas": questions}


def write(path, count, seed):
    rng = random.Random(seed)
    paragraphs = [paragraph(rng, number) for number in range(count)]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"version": "1.1", "data": [{"title": "Town", "paragraphs": paragraphs}]}, file)


if not TRAIN:
    TRAIN, DEV = "train.json", "dev.json"
    write(TRAIN, 400, seed=1)
    write(DEV, 60, seed=2)

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
# The baseline answers each question with the longest run of capitalised words of its context. F1 is
# SQuAD's: words that the answer shares with the best of the right ones, without case, punctuation
# and articles.

# %%
import re  # noqa: E402
import string  # noqa: E402
from collections import Counter  # noqa: E402


def read(path):
    with open(path, encoding="utf-8") as file:
        data = json.load(file)["data"]
    return [
        (question["question"], paragraph["context"], question["answers"])
        for article in data
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def words(text):
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    return Counter(word for word in plain.split() if word not in ("a", "an", "the"))


def f1(said, right):
    common = (words(said) & words(right)).total()
    return 2 * common / (words(said).total() + words(right).total()) if common else 0.0


def mean_f1(answers, rows):
    best = [
        max(f1(answer, one["text"]) for one in right)
        for answer, (_, _, right) in zip(answers, rows, strict=True)
    ]
    return 100 * sum(best) / len(best)


def longest_name(context):
    return max(re.findall(r"[A-Z]\w*(?: [A-Z]\w*)*", context), key=len, default=context)


train, dev = read(TRAIN), read(DEV)
print(f"{len(train)} questions to train on, {len(dev)} held out")
for question, context, right in train[:3]:
    print(f"{question} {right[0]['text']}\n    {context}")

baseline = mean_f1([longest_name(context) for _, context, _ in dev], dev)
print(f"the longest run of capitalised words has an F1 of {baseline:.1f} on the held-out questions")

# %% [markdown]
# ## Load, and fine-tune: a Keras model that takes questions and contexts
#
# Contexts longer than `MAX_LENGTH` tokens are read in windows that overlap. The report says what
# became of every weight; the head is new.

# %%
import kbert  # noqa: E402
from kbert.train import devices  # noqa: E402

strategy = devices.strategy()
with strategy.scope():
    model = kbert.load(MODEL, task="span_extraction", max_length=MAX_LENGTH, seed=1)
    model.compile(learning_rate=LEARNING_RATE)
print(model.report)
history = model.fit(
    [(question, context) for question, context, _ in train],
    [right for _, _, right in train],
    batch_size=BATCH_SIZE,
    epochs=EPOCHS,
    group_by_length=False,  # so few rows teach more in batches of mixed lengths
    verbose=2,
)

# %% [markdown]
# ## Save, and score with SQuAD's metric
#
# `notebook_model` is a Hugging Face model directory. `kbert evaluate` writes the errors too, the
# lowest F1 first, and with `--predictions=DIR` the files that SQuAD's own scripts read. It and the
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
print(f"exact match {metrics['exact_match']:.1f}, F1 {metrics['f1']:.1f}")

with open("errors.jsonl", encoding="utf-8") as file:
    errors = [json.loads(line) for line in file]
for row in errors[:5]:
    print(f"{row['question']} {row['predicted']!r}, but {row['gold']}: {row['context']}")

# %%
import matplotlib.pyplot as plt  # noqa: E402

missing = Counter(row["question"].split(" ")[0] for row in errors)
asked = Counter(question.split(" ")[0] for question, _, _ in dev).most_common(8)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
left.plot(range(1, EPOCHS + 1), history.history["loss"], marker="o")
left.set(xlabel="epoch", ylabel="loss", title="training")
left.set_ylim(bottom=0)
right.barh([word for word, _ in asked], [100 * (1 - missing[w] / n) for w, n in asked])
right.set(xlim=(0, 100), xlabel="exact match, %", title="by the first word of the question")
right.invert_yaxis()
plt.show()

# %% [markdown]
# ## Ask the model about a text of your own

# %%
CONTEXT = (
    "The fountain stands in Holva Square. It was Greta Lomer who did it. That was on Monday 4 May. "
    "A band played."
)
QUESTIONS = ["Who repaired the fountain?", "When was the fountain repaired?"]
for question, row in zip(QUESTIONS, model.predict([(q, CONTEXT) for q in QUESTIONS]), strict=True):
    assert CONTEXT[row["start"] : row["end"]] == row["answer"]
    print(f"{question} {row['answer']!r} ({row['probability']:.0%})")

# %% [markdown]
# ## Export, and ask the SavedModel: it needs TensorFlow and TensorFlow Text only

# %%
path = run("export", "--model=notebook_model", "--target=notebook_export")
print(path)

# %%
import tensorflow as tf  # noqa: E402

with tf.device("CPU"):
    served = tf.saved_model.load(path).signatures["serving_default"]
    found = served(question=tf.constant(QUESTIONS), context=tf.constant([CONTEXT] * len(QUESTIONS)))
for row, question in enumerate(QUESTIONS):
    start, end = int(found["start"][row]), int(found["end"][row])
    answer = found["answer"][row].numpy().decode()
    assert CONTEXT[start:end] == answer
    print(f"{question} -> {answer!r}, characters {start} to {end}")
    count = int(found["n_best_count"][row])
    for text, share in list(
        zip(found["n_best_answer"][row].numpy(), found["n_best_probability"][row].numpy())  # noqa: B905
    )[: min(count, 3)]:
        print(f"    {share:.0%} {text.decode()!r}")

# %% [markdown]
# ## The figure, against the baseline

# %%
said = []
with tf.device("CPU"):
    for first in range(0, len(dev), 32):
        some = dev[first : first + 32]
        found = served(
            question=tf.constant([question for question, _, _ in some]),
            context=tf.constant([context for _, context, _ in some]),
        )
        said += [text.decode() for text in found["answer"].numpy()]
score = mean_f1(said, dev)
assert abs(score - metrics["f1"]) < 0.5, "the export answers as the model does"
print(
    f"F1 {score:.1f} of the export on {len(dev)} held-out questions; "
    f"baseline of the longest name {baseline:.1f}"
)
assert score > baseline + 20
