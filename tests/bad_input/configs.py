"""`config.json` that is refused."""

from bad_input.place import LEFT_OUT, Case, config, finetune, model

_MODEL = finetune(model="{p}/model")
_CONFIG = "{p}/model/config.json"
_TYPE = "Write a whole number, without quotation marks."
_OTHER = "kbert computes this family only; another needs a file in `kbert/families`."
_ALLOW = "The configuration and the weights are of two models; take both from one."

CASES = [
    Case(
        "config_that_is_no_json",
        "The file is no JSON.",
        _CONFIG + ": line 1: not JSON: Expecting value",
        "Get it again.",
        _MODEL,
        (model(config_json="not json"),),
    ),
    Case(
        "config_that_is_a_list",
        "The file is JSON, but no object.",
        _CONFIG + ": found a JSON list, expected an object",
        "Get it again.",
        _MODEL,
        (model(config_json="[]"),),
    ),
    Case(
        "config_in_utf16",
        "The file is UTF-16.",
        _CONFIG + ": not UTF-8 at byte 0",
        "Save it as UTF-8.",
        _MODEL,
        (model(config_json='{"model_type": "bert"}'.encode("utf-16")),),
    ),
    *(
        Case(
            f"config_with_{name}",
            f"A number is {what}.",
            f"{_CONFIG}: hidden_size: {said}",
            _TYPE,
            _MODEL,
            (config(hidden_size=value),),
        )
        for name, what, value, said in (
            ("a_string", "written as a string", "32", "found '32' (str), expected int"),
            ("a_list", "a list", [32], "found [32] (list), expected int"),
            ("a_fraction", "a fraction", 32.5, "found 32.5 (float), expected int"),
            ("null", "null", None, "found None (NoneType), expected int"),
            ("true", "true", True, "found True (bool), expected int"),
            ("a_negative_number", "negative", -32, "found -32, expected at least 1"),
            ("nought", "0", 0, "found 0, expected at least 1"),
        )
    ),
    Case(
        "config_without_a_key",
        "A key is missing.",
        _CONFIG + ": hidden_size: missing; did you mean 'hidden_act', 'num_hidden_layers'?",
        "Correct the key, or get the file again.",
        _MODEL,
        (config(hidden_size=LEFT_OUT),),
    ),
    Case(
        "config_that_contradicts_itself",
        "Two values do not fit together.",
        _CONFIG + ": hidden_size: found 33, expected a multiple of num_attention_heads (4)",
        "Get the file again.",
        _MODEL,
        (config(hidden_size=33),),
    ),
    *(
        Case(
            f"config_with_too_many_{name}",
            "A size is one that no weight in the files has.",
            f"{_CONFIG}: {name}: found {value}, the weights allow {most} at most",
            _ALLOW,
            _MODEL,
            (config(**{name: value}),),
        )
        for name, value, most in (
            ("hidden_size", 1 << 40, 2401),
            ("vocab_size", 1 << 40, 2401),
            ("intermediate_size", 10**9, 2401),
            ("num_hidden_layers", 10**9, 39),
            ("max_position_embeddings", 10**9, 64),
            ("type_vocab_size", 10**9, 2),
        )
    ),
    Case(
        "config_with_an_unknown_activation",
        "The activation is none that kbert has.",
        _CONFIG + ": hidden_act: found 'gelo', expected an activation that kbert has; did you "
        "mean 'gelu'?",
        "Take the name that transformers has for it.",
        _MODEL,
        (config(hidden_act="gelo"),),
    ),
    Case(
        "config_with_a_rate_above_one",
        "A rate of dropout is above 1.",
        _CONFIG + ": dropout.hidden: found 10.0, expected a rate from 0 to below 1",
        "Write 0.1 for 10 %.",
        _MODEL,
        (config(hidden_dropout_prob=10),),
    ),
    Case(
        "config_of_a_decoder",
        "The model computes in another way: it also looks at a second text.",
        _CONFIG + ": add_cross_attention: found True, kbert computes False only",
        _OTHER,
        _MODEL,
        (config(add_cross_attention=True),),
    ),
    Case(
        "config_with_other_positions",
        "The model has another kind of positions.",
        _CONFIG + ": position_embedding_type: found 'relative_key', kbert computes 'absolute' only",
        _OTHER,
        _MODEL,
        (config(position_embedding_type="relative_key"),),
    ),
    Case(
        "config_of_quantized_weights",
        "The weights are quantized.",
        _CONFIG + ": quantization_config: found {{'bits': 4}}, kbert computes None only",
        "Take the model that was not quantized.",
        _MODEL,
        (config(quantization_config={"bits": 4}),),
    ),
    Case(
        "config_with_code",
        "The model brings code of its own.",
        _CONFIG + ": auto_map: found {{'AutoModel': 'a.B'}}, kbert computes None only",
        "kbert runs no code that comes with a model.",
        _MODEL,
        (config(auto_map={"AutoModel": "a.B"}),),
    ),
    Case(
        "misspelt_model_type",
        "The family is misspelt.",
        _CONFIG + ": model_type: found 'brt', expected a family that kbert has; did you mean "
        "'bert'?",
        "Take the one that is suggested.",
        _MODEL,
        (config(model_type="brt"),),
    ),
    *(
        Case(
            f"config_of_{name}",
            f"The model is of another family, {title}.",
            f"{_CONFIG}: model_type: found '{name}', expected a family that kbert has{near}",
            _OTHER,
            _MODEL,
            (config(model_type=name),),
        )
        for name, title, near in (
            ("roberta", "RoBERTa", "; did you mean 'bert'?"),
            ("t5", "T5", "; known: 'bert'"),
            ("gpt2", "GPT-2", "; known: 'bert'"),
        )
    ),
    Case(
        "config_without_a_family",
        "The configuration names no family.",
        _CONFIG + ": model_type: found None, expected a family that kbert has; known: 'bert'",
        'Add `"model_type": "bert"` if it is one; the configurations of 2018 had no such key.',
        _MODEL,
        (config(model_type=LEFT_OUT),),
    ),
]
