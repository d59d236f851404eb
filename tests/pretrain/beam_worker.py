"""In the environment of Beam: what the command line has no flag for."""

import json
import pathlib
import sys

from kbert import registry
from kbert.errors import BadInput
from kbert.pretrain import beam, building
from kbert.pretrain.corpus_options import CorpusOptions


def several_parts(text, vocabulary, folder, part):
    """A store of small parts."""
    tokenizer = registry.get("tokenizer", "wordpiece").from_directory(vocabulary)
    runner = beam.Beam("direct")
    building.build(folder, [text], tokenizer, part=int(part), quiet=True, runner=runner)


def refusals(text, folder):
    """What is said where workers cannot see the folder, one fails, and a name is unknown."""
    said = []
    folder = pathlib.Path(folder)
    folder.mkdir()
    runner = beam.Beam("direct", ["--direct_num_workers=1"])

    class Elsewhere(beam._Write):
        def setup(self):
            pass

        def process(self, element):
            if element:
                raise ValueError("a disk\nof its own")

    beam._Write = Elsewhere
    for call in (
        lambda: beam.Beam("flnk"),
        lambda: runner.cut(folder, ["-"], CorpusOptions(), 100),
        lambda: runner.write(folder, [0]),
        lambda: runner.write(folder, [1]),
        lambda: runner.cut(folder, [text], CorpusOptions(), 1000),
    ):
        try:
            call()
        except BadInput as error:
            said.append([type(error).__name__, str(error)])
    print(json.dumps([said, sorted(path.name for path in folder.iterdir())]))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
