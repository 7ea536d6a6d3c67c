"""Which command was meant?  The outermost frame of the command line: names, errors, exit codes.

Commands load when they are called, so that `trimtab --help` costs no more than click itself.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from trimtab import __version__
from trimtab.errors import StoreFull, TrimtabError, UsageError

# name → (module of this package, attribute, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("data", "init", "Read a table, infer its contract, write trimtab.toml."),
    "check": ("data", "check", "Check data against the contract, row by row."),
    "contract": ("data", "contract", "Show or edit the data contract."),
    "train": ("training", "train", "Train the candidates that trimtab.toml names."),
    "evaluate": ("training", "evaluate", "Score the candidates on held-out rows, judge the gates, register."),
    "why": ("training", "why", "Say why a step would run again, or not."),
    "register": ("registry", "register", "Register the evaluated model as a new version."),
    "versions": ("registry", "versions", "List the versions of a model."),
    "log": ("registry", "log", "What happened to a model, newest first; or what was live at a moment."),
    "diff": ("registry", "diff", "Compare two versions: metrics, data, code, and where they disagree."),
    "alias": ("registry", "alias", "Set, remove or list names on versions."),
    "checkout": ("registry", "checkout", "Lay out what a version was made from in a folder."),
    "rebuild": ("registry", "rebuild", "Make a version again from its ingredients and compare the digests."),
    "delete": ("registry", "delete", "Delete a version that does not serve; its digests stay."),
    "deploy": ("serving", "deploy", "Make a version live."),
    "promote": ("serving", "promote", "Make a version the champion of an endpoint that serves already."),
    "rollback": ("serving", "rollback", "Go back to the version that was live before."),
    "canary": ("trial", "canary", "Try a version beside the champion: in shadow, or for a share."),
    "status": ("serving", "status", "What is live now."),
    "serve": ("serving", "serve", "Answer requests for every endpoint of the workspace."),
    "traffic": ("traffic", "traffic", "What was asked and answered, as the server recorded it."),
    "replay": ("replay", "replay", "Answer recorded predictions again, bit for bit."),
    "label": ("traffic", "label", "Tell what later turned out true of recorded predictions."),
    "predict": ("serving", "predict", "Ask a version for predictions on a table, without a server."),
    "score": ("score", "score", "Predict a table of any size into a file, beside what was set aside."),
    "monitor": ("monitor", "monitor", "Drift, late labels and alerts of what is live."),
    "explain": ("monitor", "explain", "Why did it alarm, or why was a prediction answered so?"),
    "drift": ("drift", "drift", "Compare two tables: what moved, causes first. Needs no project."),
    "alert": ("monitor", "alert", "Acknowledge, take, snooze or close an alert; list them."),
    "notify": ("notify", "notify", "Who is told of alerts and decisions; a test; what was sent."),
    "loop": ("loop", "loop", "Watch, decide and act for everything that serves."),
    "policy": ("loop", "policy", "What the loop may do for a model; change it."),
    "pause": ("loop", "pause", "The kill switch: the loop does nothing until resume."),
    "resume": ("loop", "resume", "Let the loop go on."),
    "decisions": ("loop", "decisions", "What the loop decided for a model, why, and what became of it."),
    "decide": ("loop", "decide", "Do the one thing that is to be done now; replay a decision."),
    "simulate": ("simulate", "simulate", "Play a month of drift, faults and outages on a virtual clock."),
    "audit": ("workspace", "audit", "Verify the journal and every registered version."),
    "doctor": ("workspace", "doctor", "Look for what is wrong with the installation and the workspace."),
    "backup": ("workspace", "backup", "Copy the workspace into one file while it is used."),
    "restore": ("workspace", "restore", "Make a workspace from a backup, verified."),
    "gc": ("workspace", "gc", "Delete traffic that is old enough and was judged."),
    "run": ("story", "run", "From a table to a live model in one go."),
    "demo": ("story", "demo", "Play the whole story on a real data set."),
}
_GROUPS = (
    ("From data to a model", ("init", "check", "contract", "train", "evaluate", "why", "run", "demo")),
    ("Versions", ("register", "versions", "log", "diff", "alias", "checkout", "rebuild", "delete")),
    ("In production", ("deploy", "promote", "rollback", "canary", "status", "serve", "traffic", "replay",
                       "label", "predict", "score")),
    ("Watching", ("monitor", "explain", "alert", "notify", "drift")),
    ("The loop", ("loop", "policy", "pause", "resume", "decisions", "decide", "simulate")),
    ("Workspace", ("audit", "doctor", "backup", "restore", "gc")),
)


class Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"trimtab.doors.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help page, without importing a single command."""
        for title, names in _GROUPS:
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name][2]) for name in names])

    def resolve_command(
            self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown name is answered with the nearest one."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
             epilog="Every command takes --workspace DIR, --json and --help. Start with: trimtab run data.csv")
@click.version_option(__version__, prog_name="trimtab", message="%(prog)s %(version)s")
def cli() -> None:
    """Git for the model, a flight recorder for its predictions, and a statistician who decides."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with the exit code of docs/errors.md."""
    args = list(sys.argv[1:] if argv is None else argv)
    _write_what_can_be_written()
    try:
        result: Any = cli.main(args=args, standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except TrimtabError as problem:
        code = _tell(problem, as_json="--json" in args)
    except click.exceptions.Abort:
        click.echo("Stopped.", err=True)
        code = 130
    except click.ClickException as problem:
        if "--json" in args:
            _print_error(UsageError(problem.format_message()))
        problem.show()
        code = 2
    except (KeyboardInterrupt, EOFError):
        click.echo("Stopped.", err=True)
        code = 130
    except BrokenPipeError:                    # the reader of our output went away, as `| head` does
        _drop_output()
        code = 0
    except OSError as problem:                 # `> /dev/full`; the store tells its own
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            code = _fault(problem)
        else:
            _drop_output()
            code = _tell(StoreFull("the output can't be written: no space left on its device; free some, then repeat"))
    except Exception as problem:  # noqa: BLE001  (the door's outermost frame)
        code = _fault(problem)
    sys.exit(code)


def _drop_output() -> None:
    """What is left of it in Python's buffer would fail again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_what_can_be_written() -> None:
    """A terminal of another encoding (GBK, Latin-1) shows `?` for a sign that it does not have, instead of a fault."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _tell(problem: TrimtabError, *, as_json: bool = False) -> int:
    if as_json:
        _print_error(problem)
    text = str(problem)
    if sys.stderr.isatty():                    # for people; who reads a pipe wants one line
        from trimtab.doors.cli.screen import WIDTH_CELLS, wrapped

        text = "\n       ".join(part for line in text.split("\n") for part in wrapped(line, WIDTH_CELLS - 7))
    click.echo(f"{_label()}  {text}", err=True)
    return problem.answer.exit


def _print_error(problem: TrimtabError) -> None:
    from trimtab.doors.cli.screen import print_json

    try:
        print_json(problem.to_json())
    except OSError:                            # stderr tells it all the same
        _drop_output()


def _label() -> str:
    """click drops the colour where stderr is no terminal; NO_COLOR is ours to honour."""
    return "Error" if os.environ.get("NO_COLOR") else click.style("Error", fg="red", bold=True)


def _fault(problem: Exception) -> int:
    click.echo(f"{_label()}  A fault of trimtab's own: {type(problem).__name__}: "
               f"{problem}\n       Repeat with TRIMTAB_DEBUG=1 to see where, and report it.", err=True)
    if os.environ.get("TRIMTAB_DEBUG"):
        traceback.print_exception(problem)
    return 70
