"""What is said of models that are named on the Hugging Face Hub."""

from bad_input.place import Case, Running, finetune, other

_HELD = "checkpoints/test_hub.py"

CASES = [
    Case(
        "a_slip_in_a_relative_path",
        "No such directory. A relative path of one or two parts could also be a name on the Hub; "
        "with `HF_HUB_OFFLINE=1` the cache alone is asked.",
        "runs/modle: no such directory here, and HF_HUB_OFFLINE is set; the cache …",
        "Check the path; `./runs/modle` or a whole path is never taken for a name. For a model of "
        "the Hub, unset the variable once, so that it is fetched.",
        finetune(model="runs/modle"),
    ),
    Case(
        "tokenize_a_model_that_is_not_there",
        "The same for `kbert tokenize`.",
        "bert-base-uncasd: no such directory here, and HF_HUB_OFFLINE is set; the cache …",
        "As above.",
        other("tokenize", "--model=bert-base-uncasd", "--input={p}/dev.tsv", "--text=sentence"),
    ),
]

RUNNING = [
    Running(
        "them/nothing: no such directory here, and no model https://huggingface.co/them/nothing "
        "that you may see; check the name, or `hf auth login` if it is private",
        "Neither a directory nor a name on the Hub. The Hub answers so too for private models of "
        "others.",
        "Copy the name from the model's page: OWNER/NAME.",
        _HELD,
        (
            "no such directory here, and no model",
            "that you may see; check the name, or `hf auth login` if it is private",
        ),
        1,
    ),
    Running(
        "them/gated: https://huggingface.co/them/gated is private, or for those whom its owner "
        "lets in: ask there, then `hf auth login` or set HF_TOKEN",
        "The files are given only to those who are let in.",
        "Ask on the model's page, and give your token.",
        _HELD,
        (
            "is private, or for those whom its owner",
            "lets in: ask there, then `hf auth login` or set HF_TOKEN",
        ),
        1,
    ),
    Running(
        "them/classifier@v3: https://huggingface.co/them/classifier has no revision 'v3'",
        "What stands behind `@` is no branch, tag or commit of the model.",
        "Leave it out for the newest, or copy one from the page of its files.",
        _HELD,
        ("has no revision 'v3'",),
        1,
    ),
    Running(
        "them/stray: no model.safetensors or pytorch_model.bin in this repository "
        "(https://huggingface.co/them/stray); found tf_model.h5, which kbert does not read",
        "The model has no weights in a form that kbert reads.",
        "Have transformers save it again: `save_pretrained` writes safetensors.",
        _HELD,
        (
            "no model.safetensors or pytorch_model.bin in this repository",
            "found tf_model.h5, which kbert does not read",
        ),
        1,
    ),
    Running(
        "them/classifier: no such directory here, and https://huggingface.co cannot be reached "
        "(Connection refused); the cache /home/me/.cache/huggingface/hub does not have it; "
        "HF_HUB_OFFLINE=1 asks the cache alone",
        "The network or the Hub is down, and the model was not fetched before.",
        "Fetch it where there is a network, and take the cache along: `HF_HOME` says where it "
        "lies. `HF_ENDPOINT` names another server.",
        _HELD,
        ("cannot be reached (Connection refused)", "HF_HUB_OFFLINE=1 asks the cache alone"),
        1,
    ),
    Running(
        "them/classifier: https://huggingface.co cannot be reached (Connection refused); taking "
        "commit 1111111111111111111111111111111111111111 from the cache",
        "The same, but the model was fetched before. The command goes on with that.",
        "Nothing. `HF_HUB_OFFLINE=1` does not ask at all.",
        _HELD,
        ("cannot be reached (Connection refused)", "from the cache"),
        None,
    ),
]
