"""What does each command say about itself?  Writes docs/cli.md from the command line's own help.

Run by `make docs`; a test fails while the page is not what this script would write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
OPENING = """# The command line

Made from the commands' own help by `make docs`; don't edit. Every command takes `--json`, `--workspace DIR`
and `--help`, and ends with one of the [exit codes](errors.md).
"""


def root() -> click.Group:
    """The group behind `trimtab`."""
    from trimtab.doors.cli import main

    return next(thing for thing in vars(main).values() if isinstance(thing, click.Group))


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """All commands below a group, in the order in which help lists them; groups before what is in them."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context, terminal_width=100, max_content_width=100)
        yield command, inner
        if isinstance(command, click.Group):
            yield from commands(command, inner)


def text() -> str:
    """The whole page."""
    group = root()
    context = click.Context(group, info_name="trimtab", terminal_width=100, max_content_width=100,
                            help_option_names=["-h", "--help"])
    parts = [OPENING, f"```text\n{group.get_help(context).strip()}\n```"]
    for command, inner in commands(group, context):
        shown = "\n".join(line.rstrip() for line in command.get_help(inner).strip().splitlines())
        parts.append(f"## `{inner.command_path}`\n\n```text\n{shown}\n```")
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
