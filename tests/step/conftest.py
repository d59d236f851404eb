"""Small models on disk, for tests that hand them to other processes."""

import dataclasses

import numpy as np
import pytest


@pytest.fixture(scope="session")
def small(tiny_model, tmp_path_factory):
    """small(rate) -> a classifier of one layer and that dropout, with a head; always the same."""
    import kbert
    from kbert.checkpoints import bundle
    from kbert.config import DropoutConfig

    made = {}

    def directory(rate):
        if rate not in made:
            source = kbert.load(tiny_model, task="classification", labels=["roads", "water"])
            config = dataclasses.replace(
                source.encoder.config, num_hidden_layers=1, dropout=DropoutConfig(rate, rate)
            )
            folder = tmp_path_factory.mktemp("small") / "encoder"
            bundle.write(folder, kbert.Encoder(config, seed=1), source.tokenizer)
            model = kbert.load(
                folder, task="classification", labels=["roads", "water"], max_length=24
            )
            kernel, _ = model.head.weights
            kernel.assign(np.random.default_rng(7).normal(0, 0.5, kernel.shape))
            made[rate] = folder.with_name("model")
            model.save(made[rate])
        return made[rate]

    return directory
