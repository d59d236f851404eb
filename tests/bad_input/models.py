"""Model directories that are refused: no model, damaged weights, another vocabulary."""

import numpy as np
from torch_files import call, items, name, plain, tensor, zipped

from bad_input.place import (
    Case,
    edited,
    evaluate,
    export,
    file,
    finetune,
    header,
    model,
    other,
    predict,
    tensors,
    tokenize,
    values,
    weights,
)

_MODEL = finetune(model="{p}/model")
_WEIGHTS = "{p}/model/model.safetensors"
_PICKLED = "{p}/model/pytorch_model.bin"
_AGAIN = "Copy or download the file again, and compare its size with the one at its source."
_LIES = "The file is damaged, or was written by something else; get it again."
_QUERY = "encoder__layer__0__attention__self__query__bias"
_TENSOR = _QUERY.replace("__", ".")


def _shorter(name):
    def change(found):
        del found[name]

    return change


def _other_shape(found):
    found["encoder.layer.1.output.dense.weight"] = np.zeros((31, 64), np.float32)


CASES = [
    Case(
        "no_model_at_all",
        "`--model` is not given.",
        "--model is missing: Model directory to start from, or its name on the Hub.",
        "Give a model directory.",
        finetune(model=None),
        code=2,
    ),
    Case(
        "missing_model",
        "The directory is not there.",
        "{p}/nowhere: no such model directory",
        "Check the path. A model of the Hugging Face Hub goes by its name, OWNER/NAME.",
        finetune(model="{p}/nowhere"),
    ),
    Case(
        "predict_without_a_model",
        "The same for `kbert predict`.",
        "{p}/nowhere: no such model directory",
        "After `kbert finetune --output=RUN` the model is RUN/model.",
        predict(model="{p}/nowhere"),
    ),
    Case(
        "directory_that_is_no_model",
        "The directory holds something else.",
        "{p}: no config.json in this directory, so it is no model",
        "A model directory is one of Hugging Face's; of a run it is RUN/model.",
        finetune(model="{p}"),
    ),
    Case(
        "no_weights",
        "The directory holds no weights that kbert reads.",
        "{p}/model: no model.safetensors or pytorch_model.bin in this directory",
        "Get one of them too.",
        _MODEL,
        (model(model_safetensors=None),),
    ),
    Case(
        "weights_of_another_program",
        "It holds weights for another program only.",
        "{p}/model: no model.safetensors or pytorch_model.bin in this directory; found "
        "tf_model.h5, which kbert does not read",
        "Have transformers save it again: `save_pretrained` writes safetensors.",
        _MODEL,
        (model(model_safetensors=None), file("model/tf_model.h5", "x")),
    ),
    *(
        Case(
            case,
            did,
            f"{_PICKLED}: {problem}",
            remedy,
            _MODEL,
            (model(model_safetensors=None), file("model/pytorch_model.bin", content)),
        )
        for case, did, problem, remedy, content in (
            (
                "a_hostile_pickle",
                "Pickled weights that would run a command. kbert runs nothing of such a file.",
                "asks for os.system; kbert resolves tensor constructors only",
                "Do not open this file with anything else. Weights come as safetensors.",
                zipped(call(name("os", "system"), plain("true")), {}),
            ),
            (
                "a_pickled_object",
                "Pickled weights that hold more than tensors, such as a whole model.",
                "asks for torch.nn.modules.container.Sequential; kbert resolves tensor "
                "constructors only",
                "Save the weights alone: `torch.save(model.state_dict(), FILE)`, or better "
                "`save_pretrained`.",
                zipped(call(name("torch.nn.modules.container", "Sequential")), {}),
            ),
            (
                "a_training_checkpoint",
                "The state of a training, in which the weights are a part.",
                "a training checkpoint with its tensors under 'state_dict'; expected a dictionary "
                "of tensors alone",
                "Save that part alone as `pytorch_model.bin`.",
                zipped(items(plain("state_dict"), items(plain("a"), tensor())), {"0": bytes(24)}),
            ),
            (
                "pickled_weights_cut_short",
                "Pickled weights that end too early.",
                "cut short or no zip archive",
                _AGAIN,
                zipped(items(plain("a"), tensor()), {"0": bytes(24)})[:-40],
            ),
            (
                "pickled_weights_that_are_none",
                "The file is something else. A pointer of git-lfs reads so.",
                "no file of torch, neither of its zip nor of its pickle form",
                "`git lfs pull`, or get the file again.",
                b"version https://git-lfs.github.com/spec/v1",
            ),
        )
    ),
    Case(
        "evaluate_an_encoder",
        "The model has no task: it is an encoder that was not fine-tuned.",
        "{start}: names no task that kbert has; give task=, one of classification, embedding, "
        "masked_lm, multi_label, multiple_choice, pretraining, regression, span_extraction, "
        "token_classification",
        "`kbert finetune` first, and take RUN/model.",
        evaluate(model="{start}"),
    ),
    Case(
        "export_an_encoder",
        "The same for `kbert export`.",
        "{start}: names no task that kbert has; give task=, one of classification, embedding, "
        "masked_lm, multi_label, multiple_choice, pretraining, regression, span_extraction, "
        "token_classification",
        "`kbert finetune` first, and take RUN/model.",
        export(model="{start}"),
    ),
    # weights that are cut short
    Case(
        "weights_of_no_bytes",
        "The weights are an empty file.",
        _WEIGHTS + ": cut short or no safetensors file (0 bytes)",
        _AGAIN,
        _MODEL,
        (weights(lambda raw: b""),),
    ),
    Case(
        "weights_of_two_bytes",
        "They end before their header begins.",
        _WEIGHTS + ": cut short or no safetensors file (2 bytes)",
        _AGAIN,
        _MODEL,
        (weights(lambda raw: raw[:2]),),
    ),
    Case(
        "half_a_header",
        "They end within their header. A pointer of git-lfs, some 130 bytes, reads so too.",
        _WEIGHTS + ": cut short or no safetensors file (1000 bytes)",
        "`git lfs pull`, or get the file again.",
        _MODEL,
        (weights(lambda raw: raw[:1000]),),
    ),
    Case(
        "truncated_weights",
        "They end within their data.",
        _WEIGHTS + ": found 100000 bytes, its header promises {size}",
        _AGAIN,
        _MODEL,
        (weights(lambda raw: raw[:100000]),),
    ),
    Case(
        "weights_with_a_tail",
        "There is more in the file than its header says.",
        _WEIGHTS + ": found {more} bytes, its header promises {size}",
        _AGAIN,
        _MODEL,
        (weights(lambda raw: raw + bytes(400)),),
    ),
    # headers that lie
    Case(
        "a_header_without_end",
        "The header claims to be 2^60 bytes long.",
        _WEIGHTS + ": cut short or no safetensors file ({size} bytes)",
        _LIES,
        _MODEL,
        (weights(lambda raw: (1 << 60).to_bytes(8, "little") + raw[8:]),),
    ),
    Case(
        "a_header_that_is_no_json",
        "The header is no JSON.",
        _WEIGHTS + ": its safetensors header cannot be read",
        _LIES,
        _MODEL,
        (weights(lambda raw: raw[:8] + b"x" + raw[9:]),),
    ),
    Case(
        "garbage_for_weights",
        "The file is something else altogether.",
        _WEIGHTS + ": its safetensors header cannot be read",
        _LIES,
        _MODEL,
        (model(model_safetensors=(50).to_bytes(8, "little") + bytes(range(200))),),
    ),
    *(
        Case(
            f"a_header_with_{name}",
            did,
            f"{_WEIGHTS}: its safetensors header cannot be read",
            _LIES,
            _MODEL,
            (header(**{_QUERY: change}),),
        )
        for name, did, change in (
            ("a_negative_offset", "An offset is negative.", {"data_offsets": [-4, 124]}),
            ("one_offset", "A tensor has one offset, not two.", {"data_offsets": [128]}),
            ("offsets_in_words", "Offsets are strings.", {"data_offsets": ["0", "128"]}),
            ("a_negative_shape", "A dimension is negative.", {"shape": [-32]}),
        )
    ),
    Case(
        "offsets_beyond_the_file",
        "A tensor lies beyond the end of the file.",
        _WEIGHTS + ": found {now} bytes, its header promises {beyond}",
        _LIES,
        _MODEL,
        (header(**{_QUERY: {"data_offsets": [1 << 40, (1 << 40) + 128]}}),),
    ),
    Case(
        "overlapping_tensors",
        "Two tensors share bytes.",
        _WEIGHTS + f": not a safetensors file: by its header '{_TENSOR}' starts at byte 0 of the "
        "data, expected 128",
        _LIES,
        _MODEL,
        (header(**{_QUERY: {"data_offsets": [0, 128]}}),),
    ),
    Case(
        "a_wrong_type",
        "A tensor's type does not fit its bytes.",
        _WEIGHTS + f": not a safetensors file: by its header '{_TENSOR}' has 128 bytes, F64 of "
        "shape [32] takes 256",
        _LIES,
        _MODEL,
        (header(**{_QUERY: {"dtype": "F64"}}),),
    ),
    Case(
        "an_unknown_type",
        "A tensor is of a type that there is not.",
        _WEIGHTS + f": not a safetensors file: by its header '{_TENSOR}' is of type 'F23'; did "
        "you mean 'F32'?",
        _LIES,
        _MODEL,
        (header(**{_QUERY: {"dtype": "F23"}}),),
    ),
    Case(
        "a_wrong_shape",
        "A tensor's shape does not fit its bytes.",
        _WEIGHTS + f": not a safetensors file: by its header '{_TENSOR}' has 128 bytes, F32 of "
        "shape [32, 2] takes 256",
        _LIES,
        _MODEL,
        (header(**{_QUERY: {"shape": [32, 2]}}),),
    ),
    Case(
        "an_index_without_a_table",
        "The index of weights in several files lists none.",
        "{p}/model/model.safetensors.index.json: weight_map: missing",
        _AGAIN,
        _MODEL,
        (model(model_safetensors=None), file("model/model.safetensors.index.json", "{}")),
    ),
    Case(
        "an_index_without_names",
        "It lists something that is no file.",
        "{p}/model/model.safetensors.index.json: a: found 5, expected the name of a file",
        _AGAIN,
        _MODEL,
        (
            model(model_safetensors=None),
            file("model/model.safetensors.index.json", '{"weight_map": {"a": 5}}'),
        ),
    ),
    Case(
        "a_part_is_missing",
        "One of several files of weights is not there.",
        "{p}/model/model-2.safetensors: no such file",
        "Get it too.",
        _MODEL,
        (
            model(model_safetensors=None),
            file(
                "model/model.safetensors.index.json",
                '{"weight_map": {"a": "model-2.safetensors"}}',
            ),
        ),
    ),
    # weights of another model
    Case(
        "a_weight_is_missing",
        "A weight that the configuration asks for is not in the file.",
        "{p}/model: 1 of 41 weights are missing: pooler.dense.bias; --new_weights=encoder/pooler "
        "makes them random",
        "The weights are of another model, or were pruned. Nothing is filled up at random unless "
        "you ask for it, as for a pooler where a pre-training had no next sentences.",
        _MODEL,
        (tensors(_shorter("pooler.dense.bias")),),
    ),
    Case(
        "new_weights_that_no_model_has",
        "`--new_weights` names no weight of the model.",
        "--new_weights: no weight begins with 'pooler'; did you mean 'encoder/pooler'?",
        "Names are those in kbert, as `kbert inspect --tensors` lists them.",
        finetune(new_weights="pooler"),
    ),
    Case(
        "a_weight_of_another_shape",
        "A weight has another shape than the configuration says.",
        "{p}/model: encoder.layer.1.output.dense.weight: found shape (64, 31), expected (64, 32) "
        "(for encoder/block_1/feedforward_out/kernel, by config.json)",
        "`config.json` and the weights are of two models; take both from one.",
        _MODEL,
        (tensors(_other_shape),),
    ),
    # vocabularies and settings
    Case(
        "vocabulary_of_another_model",
        "The vocabulary is longer than the embedding table.",
        "{p}/model: the vocabulary has 2402 entries, the embedding table 2401 rows: they do not "
        "belong together",
        "Take `vocab.txt` from the place that the weights come from.",
        _MODEL,
        (edited("vocab.txt", lambda raw: raw + b"another\n"),),
    ),
    Case(
        "missing_vocabulary",
        "The directory holds no vocabulary.",
        "{p}/model: no tokenizer here; looked for vocab.txt and tokenizer.json",
        "Copy one of them from the place that the weights come from.",
        _MODEL,
        (model(vocab_txt=None),),
    ),
    Case(
        "tokenize_without_a_vocabulary",
        "The same for `kbert tokenize`.",
        "{p}/model: no tokenizer here; looked for vocab.txt and tokenizer.json",
        "Copy one of them from the place that the weights come from.",
        tokenize(model="{p}/model"),
        (model(vocab_txt=None),),
    ),
    Case(
        "settings_with_a_wrong_type",
        "A value in `kbert.json` is of another type.",
        "{p}/model/kbert.json: max_length: found '32', expected int",
        "Correct it: a number stands without quotation marks.",
        predict(model="{p}/model"),
        (values("kbert.json", "trained", max_length="32"),),
    ),
    Case(
        "settings_of_an_unknown_task",
        "`kbert.json` names a task that this version does not have.",
        "unknown task 'clasification'; did you mean 'classification', 'token_classification'?",
        "Correct it, or install the version of kbert that wrote it (`kbert_version`).",
        predict(model="{p}/model"),
        (values("kbert.json", "trained", task="clasification"),),
    ),
    Case(
        "check_export_of_nothing",
        "An export to check is not there.",
        "{p}/base/1: no such directory",
        "Give the folder of one version, BASE/N.",
        other("check-export", "{p}/base/1"),
    ),
]
