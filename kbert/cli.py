"""The program `kbert`: finds the command, parses its flags, turns errors into one line.

Results go to standard output, progress and logs to standard error. Exit codes: 0 the thing
promised exists; 1 a bad input; 2 a usage error; 75 stopped, run again to resume; 130 and 143
ended by Ctrl-C and SIGTERM with nothing half-written.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

import kbert
from kbert import registry
from kbert.errors import BadInput, Stopped, UsageError, nearest
from kbert.train.progress import say
from kbert.train.signals import Terminated, signals_clean_up


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with signals_clean_up():
            return _run(arguments)
    except UsageError as error:
        return _complain(error, 2)
    except BadInput as error:
        return _complain(error, 1)
    except Stopped as error:
        say(f"kbert: {error}")
        return 75
    except Terminated:
        return _complain("terminated", 143)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        # the reader of our output went away; nothing is left to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _complain(f"{name}{error.strerror or error}", 1)


def _complain(error: object, code: int) -> int:
    line = " ".join(str(error).split("\n"))
    say(f"kbert: error: {line}")
    return code


def commands() -> list[str]:
    """Names of all commands, as typed."""
    return [name.replace("_", "-") for name in registry.names("command")]


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"kbert {kbert.__version__}")
        return 0
    name = arguments[0]
    if name not in commands():
        kind = "flag before the command" if name.startswith("-") else "command"
        raise UsageError(f"unknown {kind} {name!r}{nearest(name, commands())}; see kbert --help")
    module = registry.get("command", name.replace("-", "_"))
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "Read flags from this file.", flag_values=values)
    module.define_flags(values)
    if any(a in ("--help", "-h", "--helpfull", "-help") for a in arguments[1:]):
        print(_help(name, module, values))
        return 0
    positional = _parse(name, values, arguments[1:])
    wanted = getattr(module, "POSITIONAL", ())
    if len(positional) != len(wanted):
        shown = " ".join(wanted)
        found = " ".join(positional) or "nothing"
        raise UsageError(
            f"kbert {name}: found {found!r}, expected {shown or 'flags only, as --name=value'}"
        )
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("kbert").setLevel(logging.INFO)
    # TensorFlow tells of missing GPUs and of instruction sets on every start; errors that matter
    # come as exceptions
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    code = module.run(values, *positional)
    sys.stdout.flush()
    return int(code or 0)


def _parse(name: str, values: flags.FlagValues, arguments: list[str]) -> list[str]:
    try:
        return values([f"kbert {name}", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        known = [f for f in values if len(f) > 1]
        raise UsageError(
            f"kbert {name}: unknown flag --{error.flagname}{_near_flag(error.flagname, known)}"
        ) from None
    except flags.IllegalFlagValueError as error:
        raise UsageError(f"kbert {name}: {_illegal(str(error))}") from None
    except flags.CantOpenFlagFileError as error:
        reason = str(error).removeprefix("ERROR:: Unable to open flagfile: ")
        raise UsageError(f"kbert {name}: --flagfile: cannot be read: {reason}") from None
    # absl raises a bare ValueError for --noflag=value
    except (flags.Error, ValueError) as error:
        raise UsageError(f"kbert {name}: {error}") from None


def _illegal(message: str) -> str:
    """absl's "flag --a=x: reason", with what was expected in place of Python's own reason."""
    for reason, expected in (
        (": invalid literal for int()", "a whole number"),
        (": could not convert string to float", "a number"),
        (": ('Non-boolean argument", "true or false"),
    ):
        given, found, _ = message.partition(reason)
        if found:
            flag, _, value = given.removeprefix("flag ").partition("=")
            return f"{flag}: found {value!r}, expected {expected}"
    return message


def _near_flag(found: str, known: list[str]) -> str:
    clause = nearest(found, known)
    return re.sub(r"'(.*?)'", r"--\1", clause) if "did you mean" in clause else "; see --help"


def _summary(module: Any) -> str:
    return (module.__doc__ or "").strip().split("\n")[0]


def _overview() -> str:
    lines = [
        "kbert: BERT and its family, from text to a served answer",
        "",
        "usage: kbert COMMAND --flag=value ...    kbert COMMAND --help    kbert --version",
        "",
    ]
    for command in commands():
        module = registry.get("command", command.replace("-", "_"))
        lines.append(f"  {command:<14} {_summary(module)}")
    return "\n".join(lines)


def _help(name: str, module: Any, values: flags.FlagValues) -> str:
    wanted = " ".join(getattr(module, "POSITIONAL", ()))
    lines = [f"kbert {name} {wanted}".rstrip(), "", (module.__doc__ or "").strip(), "", "flags:"]
    for flag_name in values:
        flag = values[flag_name]
        if flag.boolean:
            shown = f"--[no]{flag_name} ({'on' if flag.default else 'off'})"
        else:
            shown = f"--{flag_name}={_default(flag)}"
        lines.append(f"  {shown:<32} {flag.help}")
    return "\n".join(lines)


def _default(flag: Any) -> str:
    if isinstance(flag.default, (list, tuple)):
        return ",".join(str(item) for item in flag.default)
    return "" if flag.default is None else str(flag.default)


if __name__ == "__main__":
    sys.exit(main())
