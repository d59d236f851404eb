"""Writes the small recipes, what each recipe costs, and their table in docs/pretraining.md.

python docs/build_recipes.py          # writes
python docs/build_recipes.py --check  # exits with 1 if something is not what would be written
"""

import pathlib
import sys

from absl import flags

from kbert import catalog
from kbert.commands import _flags, _recipes
from kbert.pretrain import flops
from kbert.pretrain.recipe import PretrainRecipe

PAGE = pathlib.Path(__file__).parent / "pretraining.md"
START, END = "<!-- recipes: begin -->\n", "<!-- recipes: end -->\n"
BASE, SIZES = "bert_base_uncased", ((2, 4, 6, 8, 10, 12), (128, 256, 512, 768))
# ids a second of BERT base on one H100, in bfloat16 by JAX, by the length of a row, and the
# predictions that their operations are counted with
MEASURED = {128: (470_000, 20), 512: (299_000, 76)}
SMALL = """\
# BERT of {layers} blocks of {width}, one of the 24 small ones.
# Source: Turc et al., "Well-Read Students Learn Better", arXiv 1908.08962, and README.md of
# google-research/bert: the standard recipe, with pieces masked rather than whole words; no steps
# or rates are named, so they are BERT base's.
# Cost:
"""


def recipe_of(text: str) -> PretrainRecipe:
    """What a file of flags says."""
    values = flags.FlagValues()
    _flags.define_recipe(values, PretrainRecipe)
    values(["kbert", *(line for line in text.splitlines() if line.startswith("--"))])
    return _flags.recipe_of(values, PretrainRecipe)


def cost_of(recipe: PretrainRecipe) -> tuple[float, float, float]:
    """Ids, floating-point operations, and hours on one H100."""
    shapes = catalog.shapes()
    config = shapes[recipe.model.shape]
    ids = operations = seconds = 0.0
    for phase, begin, end, size in recipe.stretches():
        rows = (end - begin) * size
        computed = rows * flops.of_row(config, phase.length, phase.predictions)
        rate, predictions = MEASURED[phase.length]
        pace = rate / phase.length * flops.of_row(shapes[BASE], phase.length, predictions)
        ids, operations = ids + rows * phase.length, operations + computed
        seconds += computed / pace
    return ids, operations, seconds / 3600


def cost_line(recipe: PretrainRecipe) -> str:
    ids, operations, hours = cost_of(recipe)
    shape = recipe.model.shape
    least = "at least " if small(shape) else ""
    how = "as measured" if shape == BASE else "at BERT base's pace"
    return (
        f"# Cost: {ids / 1e9:,.1f} G ids, {operations / 1e18:.3g} exaFLOP; {least}{shown(hours)} "
        f"hours of one H100 in bfloat16, {how}.\n"
    )


def small(shape: str) -> bool:
    """Whether it is one of the 24."""
    config = catalog.shapes()[shape]
    sizes = (config.num_hidden_layers, config.hidden_size)
    return all(map(tuple.__contains__, SIZES, sizes)) and not shape.startswith("bert_base")


def shown(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"


def recipes() -> dict[str, str]:
    """Name -> text of its file."""
    found = {name: (_recipes.FOLDER / f"{name}.flags").read_text() for name in _recipes.names()}
    flags_of_base = found["bert-base"].partition("# Cost:")[2].partition("\n")[2]
    for name, config in catalog.shapes().items():
        if small(name):
            text = SMALL.format(layers=config.num_hidden_layers, width=config.hidden_size)
            text += flags_of_base.replace(f"--shape={BASE}", f"--shape={name}")
            found[name.replace("_", "-")] = text
    costed = {}
    for name, text in found.items():
        before, _, rest = text.partition("# Cost:")
        costed[name] = before + cost_line(recipe_of(text)) + rest.partition("\n")[2]
    return costed


def table(found: dict[str, str]) -> str:
    lines = ["| `--recipe` | ids | exaFLOP | hours on one H100 |", "|---|---|---|---|"]
    costs = {name: cost_of(recipe_of(text)) for name, text in found.items()}
    for name, (ids, operations, hours) in sorted(costs.items(), key=lambda item: -item[1][1]):
        lines.append(
            f"| `{name}` | {ids / 1e9:,.1f} G | {operations / 1e18:.3g} | {shown(hours)} |"
        )
    return "\n".join(lines) + "\n"


def files() -> dict[pathlib.Path, str]:
    found = recipes()
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2]
    made = {_recipes.FOLDER / f"{name}.flags": text for name, text in found.items()}
    return {**made, PAGE: f"{before}{START}{table(found)}{END}{after}"}


if __name__ == "__main__":
    for path, new in files().items():
        if sys.argv[1:] != ["--check"]:
            path.write_text(new, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != new:
            sys.exit(f"{path.name} is not what its generator writes; run it without --check")
