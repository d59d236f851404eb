"""The warm-up file covers what a server is going to be asked, and stays small."""

import itertools

from kbert.savedmodel import warmup


def test_every_signature_and_size_with_short_and_long_texts(exports):
    for name, signatures in (
        ("paired", {"serving_default", "classify", "encode"}),
        ("regression", {"serving_default", "regress", "encode"}),
    ):
        path = exports[name] / warmup.WARMUP
        assert path.stat().st_size < 400_000
        logs = warmup.read(path)
        assert len(logs) == len(signatures) * len(warmup.BATCH_SIZES) * 2 <= warmup.MOST_RECORDS
        seen = set()
        for log in logs:
            signature, inputs = warmup.asked(log)
            (rows,) = {len(value) for value in inputs.values()}
            longest = max(len(text) for value in inputs.values() for text in value.numpy())
            seen.add((signature, rows, longest > 500))
        assert seen == set(itertools.product(signatures, warmup.BATCH_SIZES, (False, True)))


def test_requests_are_as_tensorflow_serving_reads_them(exports):
    """Text for predict, tf.Examples for classify."""
    logs = warmup.read(exports["paired"] / warmup.WARMUP)
    kinds = {log.WhichOneof("log_type") for log in logs}
    assert kinds == {"predict_log", "classify_log"}
    for log in logs:
        if log.WhichOneof("log_type") == "classify_log":
            (first, *_) = log.classify_log.request.input.example_list.examples
            assert set(first.features.feature) == {"text", "text_pair"}
        else:
            assert set(log.predict_log.request.inputs) == {"text", "text_pair"}


def test_batching_file(exports):
    """As session_bundle_config.proto has it: sizes rise and end at the largest batch."""
    assert (exports["float32"] / warmup.BATCHING).read_text() == (
        "max_batch_size { value: 32 }\n"
        "batch_timeout_micros { value: 1000 }\n"
        "max_enqueued_batches { value: 100 }\n"
        "allowed_batch_sizes: 1\n"
        "allowed_batch_sizes: 2\n"
        "allowed_batch_sizes: 4\n"
        "allowed_batch_sizes: 8\n"
        "allowed_batch_sizes: 16\n"
        "allowed_batch_sizes: 32\n"
        "pad_variable_length_inputs: false\n"
    )
