"""Exports of tiny models, made once."""

import numpy as np
import pytest

import kbert
from kbert.savedmodel.export import VARIANTS, export, export_all


@pytest.fixture(scope="session")
def single(tiny_classifier):
    return kbert.load(tiny_classifier)


@pytest.fixture(scope="session")
def paired(tiny_classifier):
    return kbert.load(tiny_classifier, inputs=("text", "text_pair"))


def with_head(directory, task, labels, **settings):
    """A model of another task whose head has wide random weights."""
    model = kbert.load(directory, task=task, labels=labels, **settings)
    kernel, _ = model.head.weights
    kernel.assign(np.random.default_rng(3).normal(0, 1, kernel.shape))
    return model


@pytest.fixture(scope="session")
def regression(tiny_model):
    return with_head(tiny_model, "regression", None, max_length=32)


@pytest.fixture(scope="session")
def multi_label(tiny_model):
    return with_head(tiny_model, "multi_label", ["dry", "wet", "Überlauf"], max_length=32)


@pytest.fixture(scope="session")
def exports(single, paired, regression, multi_label, tmp_path_factory):
    """variant or task -> path of an export."""
    base = tmp_path_factory.mktemp("exports")
    return {
        **export_all(single, base / "single", list(VARIANTS)),
        "paired": export(paired, base / "paired"),
        "regression": export(regression, base / "regression"),
        "multi_label": export(multi_label, base / "multi_label"),
    }
