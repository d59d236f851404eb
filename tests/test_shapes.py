"""Parameter counts of every released shape, by the formulas and by the variables themselves."""

import contextlib
import math

import keras
import pytest
from keras.src.backend.common import global_state

import kbert
from kbert.config import parameter_counts
from kbert.layers.heads import MaskedLM, NextSentence

# name: layers, width, heads, inner, vocabulary; encoder, with pooler, with pre-training heads.
# From the configs that Google released; the counts are those of the released checkpoints.
RELEASES = {
    "bert_base_uncased": (12, 768, 12, 3072, 30522, 108_891_648, 109_482_240, 110_106_428),
    "bert_base_cased": (12, 768, 12, 3072, 28996, 107_719_680, 108_310_272, 108_932_934),
    "bert_large_uncased": (24, 1024, 16, 4096, 30522, 334_092_288, 335_141_888, 336_226_108),
    "bert_large_uncased_whole_word_masking": (
        *(24, 1024, 16, 4096, 30522),
        *(334_092_288, 335_141_888, 336_226_108),
    ),
    "bert_large_cased": (24, 1024, 16, 4096, 28996, 332_529_664, 333_579_264, 334_661_958),
    "bert_large_cased_whole_word_masking": (
        *(24, 1024, 16, 4096, 28996),
        *(332_529_664, 333_579_264, 334_661_958),
    ),
    "bert_base_multilingual_cased": (
        *(12, 768, 12, 3072, 119547),
        *(177_262_848, 177_853_440, 178_566_653),
    ),
    "bert_base_multilingual_uncased": (
        *(12, 768, 12, 3072, 105879),
        *(166_765_824, 167_356_416, 168_055_961),
    ),
    "bert_base_chinese": (12, 768, 12, 3072, 21128, 101_677_056, 102_267_648, 102_882_442),
}

# The 24 small models: (layers, width) -> the three counts.
SMALL = {
    (2, 128): (4_369_408, 4_385_920, 4_433_468),
    (2, 256): (9_525_248, 9_591_040, 9_688_380),
    (2, 512): (22_196_224, 22_458_880, 22_754_108),
    (2, 768): (38_012_928, 38_603_520, 39_227_708),
    (4, 128): (4_765_952, 4_782_464, 4_830_012),
    (4, 256): (11_104_768, 11_170_560, 11_267_900),
    (4, 512): (28_500_992, 28_763_648, 29_058_876),
    (4, 768): (52_188_672, 52_779_264, 53_403_452),
    (6, 128): (5_162_496, 5_179_008, 5_226_556),
    (6, 256): (12_684_288, 12_750_080, 12_847_420),
    (6, 512): (34_805_760, 35_068_416, 35_363_644),
    (6, 768): (66_364_416, 66_955_008, 67_579_196),
    (8, 128): (5_559_040, 5_575_552, 5_623_100),
    (8, 256): (14_263_808, 14_329_600, 14_426_940),
    (8, 512): (41_110_528, 41_373_184, 41_668_412),
    (8, 768): (80_540_160, 81_130_752, 81_754_940),
    (10, 128): (5_955_584, 5_972_096, 6_019_644),
    (10, 256): (15_843_328, 15_909_120, 16_006_460),
    (10, 512): (47_415_296, 47_677_952, 47_973_180),
    (10, 768): (94_715_904, 95_306_496, 95_930_684),
    (12, 128): (6_352_128, 6_368_640, 6_416_188),
    (12, 256): (17_422_848, 17_488_640, 17_585_980),
    (12, 512): (53_720_064, 53_982_720, 54_277_948),
    (12, 768): (108_891_648, 109_482_240, 110_106_428),
}
NICKNAMES = {(2, 128): "tiny", (4, 256): "mini", (4, 512): "small", (8, 512): "medium"}


def small_name(layers: int, width: int) -> str:
    nickname = NICKNAMES.get((layers, width))
    return f"bert_{nickname}" if nickname else f"bert_{layers}_layers_{width}_wide"


TABLE = RELEASES | {
    small_name(layers, width): (layers, width, width // 64, 4 * width, 30522, *counts)
    for (layers, width), counts in SMALL.items()
}


@contextlib.contextmanager
def no_memory():
    """Layers built in here have shapes but no values, so a large one costs nothing."""
    name = "uninitialized_variables"
    before = list(global_state.get_global_attribute(name, []))
    with keras.StatelessScope(initialize_variables=False):
        yield
    # else Keras would fill them with values at the end of the next such scope
    global_state.set_global_attribute(name, before)


def size(weights) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def test_the_table_is_whole():
    assert len(TABLE) == 33
    assert {name for name in kbert.shapes() if name.startswith("bert_")} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_shape_and_formula(name):
    layers, width, heads, inner, vocabulary, *counts = TABLE[name]
    config = kbert.shapes()[name]
    assert config.num_hidden_layers == layers
    assert config.hidden_size == width
    assert config.attention.num_attention_heads == heads
    assert config.intermediate_size == inner
    sizes = config.embedding
    assert (sizes.vocab_size, sizes.max_position_embeddings, sizes.type_vocab_size) == (
        *(vocabulary, 512, 2),
    )
    assert (config.hidden_act, config.initializer_range, config.norm.layer_norm_eps) == (
        *("gelu", 0.02, 1e-12),
    )
    assert (config.dropout.hidden, config.dropout.attention, config.dropout.head) == (0.1, 0.1, 0.1)
    assert parameter_counts(config) == tuple(counts)


@pytest.mark.parametrize("name", TABLE)
def test_variables(name):
    config = kbert.shapes()[name]
    with no_memory():
        encoder = kbert.Encoder(config)
        heads = [MaskedLM(config), NextSentence(config)]
        for head in heads:
            head.build()
    pooled = size(encoder.weights)
    bare = pooled - size(encoder.pooler.weights)
    assert (bare, pooled, pooled + sum(size(head.weights) for head in heads)) == TABLE[name][5:]


def test_without_pooler():
    config = kbert.shapes()["bert_tiny"].replace(pooler=False)
    with no_memory():
        encoder = kbert.Encoder(config)
    assert size(encoder.weights) == 4_369_408
