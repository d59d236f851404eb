"""What `kbert pretrain`, and `kbert evaluate` of raw text, refuse."""

from bad_input.place import Case, Place, evaluate, file, pretrain

TEXT = "The tap drips.\nIt is brown.\n\nA deep pothole.\nThe road is closed.\n"
_TEXT = file("text.txt", TEXT)


def records(length: int = 16, vocabulary: str = ""):
    """Prepared rows, by the vocabulary of the models unless another folder is named."""

    def make(place: Place) -> None:
        from kbert.objectives.masking import MaskingOptions
        from kbert.objectives.pairing import PairingOptions
        from kbert.pretrain.stream import StreamOptions, prepare
        from kbert.text import WordPieceTokenizer

        text = place.folder / "text.txt"
        text.write_text(TEXT)
        source = place.folder / vocabulary if vocabulary else place.models["start"]
        options = StreamOptions(
            PairingOptions(max_seq_length=length), MaskingOptions(max_predictions_per_seq=3), 1
        )
        tokenizer = WordPieceTokenizer.from_directory(source)
        prepare([str(text)], tokenizer, place.folder / "rows", options, quiet=True)

    return make


def words(folder: str, *more: str):
    """A small vocabulary."""
    entries = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *more)
    return file(f"{folder}/vocab.txt", "".join(f"{entry}\n" for entry in entries))


def begun(place: Place) -> None:
    """A run directory as one with other flags left it."""
    from kbert.pretrain.recipe import PretrainRecipe

    given = dict(argument[2:].split("=", 1) for argument in pretrain()(place)[1:])
    (place.folder / "run").mkdir()
    recipe = PretrainRecipe.of(**{**given, "steps": "3", "next_sentence": False})
    (place.folder / "run" / "flags.txt").write_text(recipe.flagfile())


CASES = [
    Case(
        "pretrain_without_text",
        "Neither raw text nor records are given.",
        "--corpus or --input is missing: raw text, or prepared records.",
        "Give `--corpus='text/*.txt'`, or what `kbert prepare` wrote as `--input`.",
        pretrain(corpus=None),
        code=2,
    ),
    Case(
        "pretrain_without_breaks_between_documents",
        "A random next sentence comes from another document, and there is no other.",
        "{p}/text.txt: found 1 document, but a random next sentence comes from another one; put "
        "blank lines between documents, or give --nonext_sentence",
        "A blank line ends a document; `--format=documents` reads one from each line.",
        pretrain(),
        (file("text.txt", "The tap drips.\nIt is brown.\nA deep pothole.\n"),),
    ),
    Case(
        "pretrain_on_empty_text",
        "There is no word in the files.",
        "no text in the files, or none that the options keep; expected documents",
        "Look at the files.",
        pretrain(),
        (file("text.txt", "\n\n \n"),),
    ),
    Case(
        "pretrain_with_a_binary_file",
        "A file among the text is none.",
        "{p}/b.txt: line 1: found a NUL byte, expected UTF-8 text",
        "Leave the file out, by a narrower pattern.",
        pretrain(corpus="{p}/*.txt"),
        (file("a.txt", TEXT), file("b.txt", b"BM\0\0\0\0 a picture")),
    ),
    Case(
        "pretrain_with_a_line_without_end",
        "A line is longer than any text.",
        "{p}/text.txt: line 3: over 16 MB without a line break, expected text in lines; "
        "max_line_mb allows longer ones",
        "Look at the line. If it is text, `--max_line_mb=100` reads it; it is then in memory.",
        pretrain(),
        (file("text.txt", b"The tap drips.\n\n" + b"x" * (50 << 20)),),
    ),
    Case(
        "pretrain_with_a_vocabulary_without_mask",
        "The vocabulary cannot mask words.",
        "{p}/small: mask_token '[MASK]' is not in the vocabulary of 6 entries; did you mean "
        "'[MAKS]'?",
        "Take a vocabulary of `kbert vocabulary`, or of a BERT.",
        pretrain(vocabulary="{p}/small"),
        (_TEXT, words("small", "[MAKS]", "tap")),
    ),
    Case(
        "pretrain_on_records_of_another_vocabulary",
        "The records were prepared with another vocabulary than the model's.",
        "{p}/rows.json: records of another vocabulary, of 6 entries; expected the model's, of 7",
        "Give the vocabulary that they were prepared with, or prepare them anew.",
        pretrain(corpus=None, input="{p}/rows", vocabulary="{p}/small"),
        (
            words("other", "[MASK]", "tap"),
            words("small", "[MASK]", "tap", "road"),
            records(vocabulary="other"),
        ),
    ),
    Case(
        "pretrain_on_records_that_are_longer",
        "The records have more ids than the model is to read.",
        "{p}/rows-00000-of-00001.tfrecord: found records of 24 ids, expected at most 16, which is "
        "all that the model reads",
        "Give their length as `--max_seq_length`, or prepare shorter ones.",
        pretrain(corpus=None, input="{p}/rows"),
        (records(24),),
    ),
    Case(
        "pretrain_on_records_that_are_shorter",
        "The records have fewer ids than the flag says.",
        "--max_seq_length: found 32, but the rows have 16 ids",
        "Give their length as `--max_seq_length`, or prepare longer ones.",
        pretrain(corpus=None, input="{p}/rows", max_seq_length=32),
        (records(),),
    ),
    Case(
        "pretrain_over_another_run",
        "The output directory holds a run with other flags.",
        "--output={p}/run: holds another run; these flags differ: --next_sentence, --steps (there: "
        "--nonext_sentence --steps=3); give a new directory, or the flags of that run to resume it",
        "Give a new directory. The same flags as then resume the run.",
        pretrain(),
        (_TEXT, begun),
    ),
    Case(
        "pretrain_packed_pairs",
        "Rows of several texts hold no pairs.",
        "--pack: needs --nonext_sentence",
        "Give `--nonext_sentence` too.",
        pretrain(pack="true"),
        (_TEXT,),
        code=2,
    ),
    Case(
        "pretrain_in_phases_that_do_not_match",
        "There are other numbers of steps than of lengths.",
        "--max_seq_length: found 3 values, expected 1 or 2, as --steps has",
        "Give one value, or one for each phase of `--steps`.",
        pretrain(steps="2,2", max_seq_length="16,16,16"),
        (_TEXT,),
        code=2,
    ),
    Case(
        "pretrain_with_a_ramp_that_is_none",
        "A part of the ramp is no batch size with a number of steps.",
        "--batch_ramp: found '64', expected SIZE:STEPS, as 64:1000",
        "Write it so; several parts with commas between.",
        pretrain(batch_ramp="64"),
        (_TEXT,),
        code=2,
    ),
    Case(
        "pretrain_of_an_unknown_shape",
        "The shape is none of the released ones.",
        "--shape: found 'bert_tini', expected LAYERSxWIDTH or a released one; did you mean "
        "'bert_tiny', 'bert_mini', 'bert_medium'?",
        "`kbert shapes` lists them; `--shape=4x256` has 4 layers of width 256.",
        pretrain(shape="bert_tini"),
        (_TEXT,),
    ),
    Case(
        "pretrain_by_an_unknown_recipe",
        "The package has no such recipe.",
        "--recipe: unknown 'one-gpu-one-dya'; did you mean 'one-gpu-one-day'?",
        "`kbert pretrain --help` lists them; a file of your own is given as `--flagfile`.",
        pretrain(recipe="one-gpu-one-dya"),
        (_TEXT,),
        code=2,
    ),
    Case(
        "pretrain_with_a_model_of_fewer_positions",
        "Rows are longer than the model to go on with can read.",
        "--max_seq_length: found 128, the model has 64 positions",
        "Give a shorter `--max_seq_length`.",
        pretrain(model="{start}", vocabulary=None, max_seq_length=128),
        (_TEXT,),
    ),
    Case(
        "evaluate_raw_text_by_a_model_without_a_head",
        "The model was not trained to fill masks.",
        "{start}: has no head for masked_lm (BertModel), and the task makes no new one; give a "
        "checkpoint that was trained with it: BertForMaskedLM, BertForPreTraining",
        "Take a pre-trained model; a fine-tuned one has lost that head.",
        evaluate(model="{start}", data=None, corpus="{p}/text.txt"),
        (_TEXT,),
    ),
]
