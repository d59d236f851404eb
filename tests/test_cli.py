"""The program as a whole: help, versions, usage errors, exit codes."""

import os
import subprocess
import sys

import pytest
from absl import flags

import kbert
from kbert import cli, registry
from kbert.errors import BadInput, UsageError

COMMANDS = cli.commands()

# Loads every help text, then says which heavy packages came along
HELP_OF_ALL = """
import sys
from kbert.cli import commands, main

codes = [main(["--help"]), *(main([name, "--help"]) for name in commands())]
heavy = {"tensorflow", "tensorflow_text", "jax", "keras", "torch", "aiohttp", "sklearn", "grpc"}
print(codes, sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


@pytest.fixture
def run(capsys):
    """Returns run(*arguments): (code, out, err) of the program."""

    def one(*arguments):
        capsys.readouterr()
        code = cli.main(list(arguments))
        return (code, *capsys.readouterr())

    return one


def defined(name):
    """The flags that a command defines."""
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "Read flags from this file.", flag_values=values)
    registry.get("command", name.replace("-", "_")).define_flags(values)
    return values


def test_there_are_commands():
    assert {"env", "evaluate", "export", "finetune", "predict", "quickstart", "serve"} <= set(
        COMMANDS
    )
    assert not [name for name in COMMANDS if name.startswith("_") or "_" in name]


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_lists_every_command(run, word):
    code, out, err = run(word)
    assert (code, err) == (0, "")
    listed = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert sorted(listed) == sorted(COMMANDS)
    for name, line in listed.items():
        module = registry.get("command", name.replace("-", "_"))
        summary = module.__doc__.strip().split("\n")[0]
        assert line.split(None, 1)[1] == summary
        assert summary[0].isupper()
        assert summary.endswith(".")


def test_nothing_at_all_is_a_usage_error(run):
    code, out, _ = run()
    assert code == 2
    assert "usage: kbert COMMAND" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_names_each_flag(run, name):
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"kbert {name}")
    lines = out.split("\nflags:\n")[1].splitlines()
    values = defined(name)
    assert len(lines) >= len(list(values))
    for flag in values:
        shown = f"--[no]{flag}" if values[flag].boolean else f"--{flag}="
        (line,) = [line for line in lines if line.split()[0].startswith(shown)]
        assert values[flag].help.split("\n")[0] in line
        assert len(values[flag].help) > 3


@pytest.mark.parametrize("name", COMMANDS)
def test_help_wins_over_what_else_is_given(run, name):
    code, out, _ = run(name, "--no_such_flag=1", "--help")
    assert code == 0
    assert out.startswith(f"kbert {name}")


def test_defaults_are_shown(run):
    out = run("finetune", "--help")[1]
    for shown in (
        "--epochs=3 ",
        "--learning_rate=5e-05 ",
        "--[no]deterministic (on) ",
        "--[no]smoke (off) ",
        "--text=text ",
        "--model= ",
    ):
        assert shown in out


def test_help_loads_no_framework():
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == f"{[0] * (len(COMMANDS) + 1)} []"


def test_as_a_module_and_as_a_script():
    script = os.path.join(os.path.dirname(sys.executable), "kbert")
    for command in ([sys.executable, "-m", "kbert"], [script]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (
            0,
            f"kbert {kbert.__version__}\n",
            "",
        )
        done = subprocess.run([*command, "finetun"], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("kbert: error: unknown command 'finetun'; did you mean")


def test_version(run):
    assert run("--version") == (0, f"kbert {kbert.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["finetun", "--model=x"],
            "unknown command 'finetun'; did you mean 'finetune', 'inspect'?; see kbert --help",
        ),
        (["evaluat"], "unknown command 'evaluat'; did you mean 'evaluate'?; see kbert --help"),
        (["finetune", "--modl=x"], "kbert finetune: unknown flag --modl; did you mean --model?"),
        (
            ["predict", "--batchsize=3"],
            "kbert predict: unknown flag --batchsize; did you mean --batch_size?",
        ),
        (["predict", "--qqqqqqq"], "kbert predict: unknown flag --qqqqqqq; see --help"),
        (["shapes", "--model=x"], "kbert shapes: unknown flag --model; see --help"),
        (
            ["finetune", "data.tsv"],
            "kbert finetune: found 'data.tsv', expected flags only, as --name=value",
        ),
        (
            ["env", "--", "a", "b"],
            "kbert env: found 'a b', expected flags only, as --name=value",
        ),
        (["finetune", "--model"], "kbert finetune: Missing value for flag --model"),
        (
            ["finetune", "--epochs=many"],
            "kbert finetune: --epochs: found 'many', expected a whole number",
        ),
        (
            ["finetune", "--epochs=1.5"],
            "kbert finetune: --epochs: found '1.5', expected a whole number",
        ),
        (
            ["finetune", "--learning_rate=5e"],
            "kbert finetune: --learning_rate: found '5e', expected a number",
        ),
        (
            ["finetune", "--smoke=maybe"],
            "kbert finetune: --smoke: found 'maybe', expected true or false",
        ),
        (
            ["finetune", "--nosmoke=true"],
            "kbert finetune: --nosmoke=true does not take an argument",
        ),
        (
            ["predict", "--batch_size=0"],
            "kbert predict: flag --batch_size=0: 0 is not a positive integer",
        ),
        (
            ["evaluate", "--batch_size=-1"],
            "kbert evaluate: flag --batch_size=-1: -1 is not a positive integer",
        ),
        (
            ["finetune", "--flagfile=no/such/flags.txt"],
            "kbert finetune: --flagfile: cannot be read: "
            "[Errno 2] No such file or directory: 'no/such/flags.txt'",
        ),
        (
            ["finetune"],
            "--model is missing: Model directory to start from, or its name on the Hub.",
        ),
        (
            ["finetune", "--model=x"],
            "--output is missing: Run directory; the same command again resumes.",
        ),
        (
            ["finetune", "--model=x", "--output=y"],
            "--train is missing: File of training rows: .tsv, .csv, .jsonl, .json, .conll "
            "(also .gz) or .parquet.",
        ),
        (["predict"], "--model is missing: Model directory, or its name on the Hub."),
        (["tokenize"], "--model is missing: Model directory, or its name on the Hub."),
        (["evaluate", "--model=x"], "--data is missing: File of labelled rows."),
        (["export", "--model=x"], "--target is missing: Directory that holds the versions."),
        (["serve"], "--model_base_path is required: the folder that holds the versions"),
    ],
)
def test_usage_errors(run, arguments, message):
    assert run(*arguments) == (2, "", f"kbert: error: {message}\n")


def test_a_flag_before_the_command(run):
    code, out, err = run("--model=x", "predict")
    assert (code, out) == (2, "")
    assert err.startswith(
        "kbert: error: unknown flag before the command '--model=x'; known: 'check-export'"
    )
    assert err.count("\n") == 1


def test_a_mistake_in_a_flagfile(run, tmp_path):
    (tmp_path / "flags.txt").write_text("# a comment\n--model=x\n--epoch=3\n")
    code, _, err = run("finetune", f"--flagfile={tmp_path}/flags.txt")
    assert code == 2
    assert err == "kbert: error: kbert finetune: unknown flag --epoch; did you mean --epochs?\n"


class Command:
    """A command whose run does what the test says."""

    POSITIONAL = ("SOURCE", "TARGET")
    __doc__ = "Do a thing."

    def __init__(self, act):
        self.act = act

    @staticmethod
    def define_flags(values):
        flags.DEFINE_integer("n", 1, "A number.", flag_values=values)

    def run(self, values, source, target):
        return self.act(values.n, source, target)


@pytest.fixture
def command(monkeypatch):
    """Puts a `Command` in the place of `kbert shapes`."""

    def put(act):
        monkeypatch.setattr(registry, "get", lambda kind, name: Command(act))

    return put


def test_positional_arguments(run, command):
    seen = []
    command(lambda *given: seen.append(given))
    assert run("shapes", "a", "--n=3", "b") == (0, "", "")
    assert seen == [(3, "a", "b")]
    assert run("shapes", "a")[2] == (
        "kbert: error: kbert shapes: found 'a', expected SOURCE TARGET\n"
    )
    assert run("shapes")[2] == (
        "kbert: error: kbert shapes: found 'nothing', expected SOURCE TARGET\n"
    )
    assert run("shapes", "--help")[1].startswith("kbert shapes SOURCE TARGET\n\nDo a thing.\n")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BadInput("a.tsv: line 3: bad"), 1, "a.tsv: line 3: bad"),
        (BadInput("two\nlines"), 1, "two lines"),
        (UsageError("--n: bad"), 2, "--n: bad"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            FileNotFoundError(2, "No such file or directory", "x/y"),
            1,
            "x/y: No such file or directory",
        ),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (OSError("odd"), 1, "odd"),
    ],
)
def test_errors_become_one_line_and_a_code(run, command, error, code, line):
    def act(*given):
        print("some of the result")
        raise error

    command(act)
    assert run("shapes", "a", "b") == (code, "some of the result\n", f"kbert: error: {line}\n")


def test_a_mistake_of_the_program_is_not_hidden(run, command):
    def act(*given):
        raise ZeroDivisionError

    command(act)
    with pytest.raises(ZeroDivisionError):
        run("shapes", "a", "b")


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (75, 75)])
def test_exit_codes_of_commands(run, command, returned, code):
    command(lambda *given: returned)
    assert run("shapes", "a", "b")[0] == code


def test_a_reader_that_goes_away():
    """As in `kbert shapes | head -0`: there is nobody left to complain to."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "kbert", "shapes"], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
