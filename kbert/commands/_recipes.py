"""`--recipe=NAME`: the values of a file of flags, where the command line says nothing."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from absl import flags

from kbert.errors import UsageError, nearest

FOLDER = pathlib.Path(__file__).parents[1] / "recipes"


def names() -> list[str]:
    """Of all recipes in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.flags"))


def define(values: flags.FlagValues) -> None:
    """--recipe."""
    flags.DEFINE_string(
        "recipe",
        "",
        f"Take what no other flag says from one of: {', '.join(names())}.",
        flag_values=values,
    )


def take(values: flags.FlagValues, define_flags: Callable[[flags.FlagValues], None]) -> None:
    """Gives the flags that were not given the values of the recipe.

    Args:
        values: parsed.
        define_flags: of the command whose flags they are.

    Raises:
        UsageError: an unknown name.
    """
    if not values.recipe:
        return
    if values.recipe not in names():
        raise UsageError(f"--recipe: unknown {values.recipe!r}{nearest(values.recipe, names())}")
    theirs = read(values.recipe, define_flags)
    for name in theirs:
        if theirs[name].present and not values[name].present:
            values[name].value = theirs[name].value


def read(name: str, define_flags: Callable[[flags.FlagValues], None]) -> flags.FlagValues:
    """The flags as a recipe has them."""
    found = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=found)
    define_flags(found)
    found(["kbert", f"--flagfile={FOLDER / name}.flags"])
    return found
