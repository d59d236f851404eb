"""All that is refused, as data: `tests/test_bad_input.py` holds it, and
`docs/build_troubleshooting.py` makes the troubleshooting page from it.
"""

from bad_input import (
    configs,
    corpora,
    files_of_rows,
    flags_given,
    formats,
    hub,
    labels,
    models,
    outputs,
    pretraining,
    running,
    spans,
    vectors,
)
from bad_input.place import Case, Place, Running

GROUPS = {
    "Files of rows": files_of_rows.CASES,
    "Labels and data sets": labels.CASES,
    "Tags, entities and answers": spans.CASES,
    "Sentence vectors": vectors.CASES,
    "Model directories": models.CASES,
    "Models of the Hub": hub.CASES,
    "Other checkpoints and conversions": formats.CASES,
    "`config.json`": configs.CASES,
    "Commands and flags": flags_given.CASES,
    "Outputs": outputs.CASES,
    "Text to pre-train on, vocabularies": corpora.CASES,
    "Pre-training": pretraining.CASES,
}
CASES = [case for cases in GROUPS.values() for case in cases]
RUNNING = [*running.CASES, *hub.RUNNING]

__all__ = ["CASES", "GROUPS", "RUNNING", "Case", "Place", "Running"]
