"""One process of a run on several devices: python replica_worker.py KIND JOB.json

KIND is what `--devices` takes. JOB holds `folder`, `model` (a directory), `cpus`, and `cases`, a
list of [function, name, arguments]. Each case leaves `NAME-WORKER.npz` in the folder. One process
has one strategy: a second one in it dies of collectives that do not fit together.
"""

import contextlib
import json
import os
import pathlib
import signal
import sys

import numpy as np

LABELS = ["roads", "water"]
# 21 rows in batches of 5 are 5 steps an epoch, the last one of a single row
ROWS, BATCH, EPOCHS = 21, 5, 4
RECIPE = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": 2e-3, "seed": 3, "epsilon": 1e-3}


# 20 steps in two phases, the first of which begins with smaller batches
PRETRAIN = {"steps": ("14", "6"), "batch_size": ("5", "4"), "batch_ramp": "3:4", "seed": 3}
PRETRAIN |= {"max_seq_length": "12", "max_predictions_per_seq": "8", "warmup_steps": "2"}
PRETRAIN |= {"learning_rate": "2e-3", "epsilon": 1e-3, "dropout": 0.0, "eval_rows": 10}


def rows(start, stop):
    """(texts, labels) of the quickstart's rows that have one of two labels."""
    from kbert.commands.quickstart import ASSETS
    from kbert.data.table import read_table

    table = read_table(ASSETS / "train.tsv")
    pairs = zip(table.column("text"), table.column("label"), strict=True)
    chosen = [pair for pair in pairs if pair[1] in LABELS][start:stop]
    return [text for text, _ in chosen], [label for _, label in chosen]


class Uneven:
    """16 rows of ids, of which every other one has one masked place and the rest have eight."""

    length, predictions, next_sentence, unigram_entropy = 12, 8, True, None

    def rows(self, epoch):
        return 16

    def batch(self, epoch, rows):
        made = [np.random.default_rng([epoch, row]) for row in rows]
        ids = np.stack([g.integers(10, 300, 12) for g in made]).astype(np.int32)
        places = np.stack([np.sort(g.permutation(10)[:8] + 1) for g in made]).astype(np.int32)
        labels = np.stack([g.integers(10, 300, 8) for g in made]).astype(np.int32)
        none = np.arange(8) >= np.where(rows % 2, 1, 8)[:, None]
        return {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
            "masked_positions": np.where(none, 0, places),
            "masked_lm_ids": np.where(none, -1, labels),
            "next_sentence_labels": np.where(rows % 5, rows % 2, -1).astype(np.int32),
        }


class Worker:
    """What the cases share: the strategy, a fresh model, a place for results."""

    def __init__(self, kind, job):
        from kbert.train import devices

        self.folder, self.source = pathlib.Path(job["folder"]), job["model"]
        devices.configure(deterministic=True)
        if job.get("cpus", 1) > 1:
            import tensorflow as tf

            cpu = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * job["cpus"]
            )
        self.strategy = devices.strategy(kind)
        self.chief = devices.is_chief(self.strategy)
        self.name = kind if self.chief else f"{kind}1"

    def load(self, source=None):
        import kbert

        with self.strategy.scope():
            return kbert.load(
                source or self.source,
                task="classification",
                labels=LABELS,
                max_length=24,
                seed=3,
            )

    def leave(self, name, model, **values):
        """Writes the weights by name, and other arrays."""
        weights = {f"weight:{v.path}": np.asarray(v) for v in model.trainable_variables}
        np.savez(self.folder / f"{name}-{self.name}.npz", **weights, **values)

    # cases ------------------------------------------------------------------------------

    def steps(self, name, optimizer="adamw", parts=1):
        """20 steps of a Stepper."""
        import keras

        from kbert.data.batches import training_batches
        from kbert.step.optimizers import BertAdamW
        from kbert.step.schedules import WarmupDecay
        from kbert.train.loop import stepper

        model = self.load()
        made = {
            "sgd": lambda: keras.optimizers.SGD(0.1),
            "adamw": lambda: BertAdamW(2e-3, epsilon=1e-3, clip_norm=0.5),
            # as `kbert finetune` makes it
            "recipe": lambda: BertAdamW(WarmupDecay(2e-4, 2, 20)),
        }
        with self.strategy.scope():
            model.compile(made[optimizer]())
            model.optimizer.build(model.trainable_variables)
        texts, labels = rows(0, ROWS)
        fields = {"text": texts}
        targets = model.task.targets(labels, LABELS, "labels", range(ROWS))
        run = stepper(model, parts)
        run.start(
            lambda slices: training_batches(
                fields,
                targets,
                lambda *batch: model.batch(*batch, run.buckets),
                batch_size=BATCH,
                epochs=EPOCHS,
                seed=3,
                lengths=model.lengths(fields),
                slices=slices,
            )
        )
        losses = [run()[0] for _ in range(20)]
        run.sync()
        self.leave(name, model, losses=losses)

    def masked(self, name, parts=1):
        """20 steps of masked words and next sentences, of which the replicas have uneven shares."""
        from kbert.checkpoints.checkpoint import open_checkpoint
        from kbert.encoder import Encoder
        from kbert.model import TextModel
        from kbert.pretrain.feed import Feed
        from kbert.step.optimizers import Lamb
        from kbert.tasks.pretraining import TASK
        from kbert.train.loop import stepper

        checkpoint = open_checkpoint(self.source)
        with self.strategy.scope():
            encoder = Encoder(checkpoint.config, 3)
            model = TextModel(encoder, TASK, TASK.own_labels, checkpoint.tokenizer(), max_length=12)
            model.compile(Lamb(2e-2, epsilon=1e-3, clip_norm=0.5))
            model.optimizer.build(model.trainable_variables)
        feed = Feed(Uneven(), 3)
        run = stepper(model, parts)
        # batches of 5 leave one of two replicas with a row that counts nothing
        run.start(lambda slices: feed.dataset(0, 5, 20, slices))
        losses, terms, shown = [], [], []
        for _ in range(20):
            losses.append(run()[0])
            terms.append(run.terms)
            shown.append(run.shown)
        run.sync()
        self.leave(name, model, losses=losses, terms=terms, shown=shown)

    def pretrain(self, name, output="", stop_at=0, source="", held_out=True, **changes):
        """`kbert.pretrain.loop.pretrain` from a checkpoint; with `stop_at` as `train`."""
        from kbert.errors import BadInput, Stopped
        from kbert.pretrain import loop, models
        from kbert.pretrain.recipe import PretrainRecipe

        values = {**PRETRAIN, "model": str(source or self.source), **changes}
        recipe = PretrainRecipe.of(
            **values, output=str(self.folder / output) if output else "", corpus="x"
        )
        with self.strategy.scope():
            model = models.continued(recipe)
        sources = [Uneven()] * len(recipe.phases)
        held = Uneven() if held_out else None
        said, losses, metrics = "", [], {}
        with signal_after(stop_at) if stop_at else contextlib.nullcontext():
            try:
                result = loop.pretrain(model, sources, recipe, held)
                losses = [point[2] for point in result.points]
                metrics = result.metrics
            except (Stopped, BadInput) as error:
                said = f"{type(error).__name__}: {error}"
        self.leave(name, model, losses=losses, said=said, metrics=json.dumps(metrics))

    def fit(self, name):
        """The same recipe by Keras' own loop."""
        import kbert
        from kbert.train.prepare import optimizer_of

        model = self.load()
        recipe = kbert.Recipe.of(**RECIPE)
        with self.strategy.scope():
            model.compile(optimizer_of(recipe, 20))
        texts, labels = rows(0, ROWS)
        dev = rows(30, 36)
        history = model.fit(
            texts, labels, batch_size=BATCH, epochs=EPOCHS, seed=3, verbose=0, validation_data=dev
        )
        measured = model.evaluate(*dev, verbose=0)
        self.leave(name, model, losses=history.history["loss"], measured=measured)

    def train(self, name, output="", stop_at=0, source=None, **changes):
        """`kbert.train`; with `stop_at` this process is told to stop after that step."""
        import kbert
        from kbert.errors import BadInput, Stopped
        from kbert.train import loop

        model = self.load(source)
        place = str(self.folder / output) if output else ""
        recipe = kbert.Recipe.of(**{**RECIPE, "output": place, **changes})
        data = {"train": rows(0, ROWS), "dev": rows(30, 36)}
        said, history = "", []
        with signal_after(stop_at) if stop_at else contextlib.nullcontext():
            try:
                history = loop.train(model, data, recipe).history
            except (Stopped, BadInput) as error:
                said = f"{type(error).__name__}: {error}"
        losses = [entry["train_loss"] for entry in history]
        self.leave(name, model, losses=losses, said=said, history=json.dumps(history))

    def saved(self, name, output):
        """A run, `predict` and `save`; then the model that was saved."""
        import kbert

        self.train(name, output=output)
        model = kbert.load(self.folder / output / "model")
        texts, _ = rows(30, 36)
        scores = np.array([answer["scores"] for answer in model.predict(texts)])
        self.leave(f"{name}-model", model, scores=scores, logits=model.predict_logits(texts))

    def task(self, name, of="", max_length=12, **options):
        """`kbert.train` of the task `of`, or of that name, on the conformance checks' examples."""
        import kbert
        from kbert import registry
        from kbert.train import loop

        sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "conformance"))
        from conformance_checks import DEFAULT, EXAMPLES

        of = of or name
        fields, column = EXAMPLES.get(of, DEFAULT)
        fields = {key: list(values) * 4 for key, values in fields.items()}
        column = list(column) * 4
        task = registry.get("task", of)
        with self.strategy.scope():
            model = kbert.load(
                self.source,
                task=of,
                labels=task.labels_of(column),
                inputs=list(fields),
                max_length=max_length,
                seed=3,
                options=options,
                allow_missing=() if task.new_head else ["masked_lm/", "next_sentence/"],
            )
        generator = np.random.default_rng(7)  # TensorFlow and JAX draw other weights
        for weight in model.head.weights:
            weight.assign(generator.normal(0, 0.5, weight.shape))
        recipe = kbert.Recipe.of(**{**RECIPE, "epochs": 3})
        history = loop.train(model, {"train": (fields, column)}, recipe).history
        given = task.given(fields, {})
        answers = model.answers(given, signature=model.task.scored)
        found = {f"answer:{key}": value for key, value in answers.items()}
        for key, value in found.items():
            if value.dtype == object:
                found[key] = np.array(value.tolist(), np.bytes_)
        self.leave(name, model, losses=[entry["train_loss"] for entry in history], **found)

    def masks(self, name):
        """A dropout mask of each replica, and the seed state before and after."""
        import tensorflow as tf

        from kbert.layers.noise import Dropout

        with self.strategy.scope():
            layer = Dropout(0.5, 7, "drop")
        state = layer.seed_generator.state

        @tf.function
        def draw():
            return self.strategy.run(lambda: layer(tf.ones([8, 8]), training=True))

        first, second = (self.strategy.experimental_local_results(draw()) for _ in range(2))
        states = [np.asarray(s) for s in self.strategy.experimental_local_results(state.value)]
        arrays = {"first": np.stack(first), "second": np.stack(second), "states": np.stack(states)}
        np.savez(self.folder / f"{name}-{self.name}.npz", **arrays)

    def refused(self, name):
        """What `fit` says."""
        from kbert.errors import BadInput

        model = self.load()
        try:
            model.fit(*rows(0, 4), verbose=0)
        except BadInput as error:
            self.leave(name, model, said=str(error))

    def refusals(self, name):
        """What JAX says to what it does not do."""
        from kbert.errors import BadInput
        from kbert.train import devices

        model = self.load()
        said = {}
        for what, call in (
            ("export", lambda: model.export(self.folder / "never")),
            ("multiworker", lambda: devices.strategy("multiworker")),
            ("tpu", lambda: devices.strategy("tpu")),
        ):
            try:
                call()
            except BadInput as error:
                said[what] = str(error)
        self.leave(name, model, **said)


@contextlib.contextmanager
def signal_after(step):
    """Sends SIGTERM to this process when that step is done."""
    from kbert.train import loop

    add = loop.Progress.add

    def telling(self, count, note="", **more):
        if f"step {step}/" in (note if isinstance(note, str) else note()):
            os.kill(os.getpid(), signal.SIGTERM)
        add(self, count, note, **more)

    loop.Progress.add = telling
    try:
        yield
    finally:
        loop.Progress.add = add


def main():
    job = json.loads(pathlib.Path(sys.argv[2]).read_text())
    worker = Worker(sys.argv[1], job)
    index = 0 if worker.chief else 1
    for function, name, arguments in job["cases"]:
        # an argument of one worker alone: "stop_at:1"
        mine = {}
        for key, value in arguments.items():
            key, _, who = key.partition(":")
            if not who or int(who) == index:
                mine[key] = value
        getattr(worker, function)(name, **mine)


if __name__ == "__main__":
    main()
