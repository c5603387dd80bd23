"""`python -m install.texts DIR`: writes the man pages and completions of every command of proxtop, as installed.

DIR/man1/NAME.1, DIR/bash/NAME, DIR/zsh/_NAME, DIR/fish/NAME.fish.
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import subprocess
import sys

from install import completions, manual
from install.helptext import HelpText, parse

PARTS = {"proxtop": ("keys",), "proxprofiler": ("predict", "compare", "plan", "plot")}
"""Commands of commands that have a --help of their own."""


def commands() -> dict[str, str]:
    """The commands that the installed proxtop has, each with `module:function`."""
    scripts = importlib.metadata.distribution("proxtop").entry_points.select(group="console_scripts")
    return {script.name: script.value for script in sorted(scripts, key=lambda script: script.name)}


def help_of(name: str, entry: str, *words: str) -> HelpText:
    """What `NAME WORDS --help` says, from the command itself."""
    module, _, function = entry.partition(":")
    code = f"import sys; from {module} import {function}; sys.argv[0] = {name!r}; sys.exit({function}())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *words, "--help"], capture_output=True, text=True, check=True
    )
    return parse(" ".join((name, *words)), done.stdout)


def write(folder: pathlib.Path) -> None:
    """Writes everything anew."""
    entries = commands()
    version = importlib.metadata.version("proxtop")
    for name, entry in entries.items():
        text = help_of(name, entry)
        parts = [help_of(name, entry, part) for part in PARTS.get(name, ())]
        for path, content in (
            (f"man1/{name}.1", manual.page(text, version, list(entries), parts)),
            (f"bash/{name}", completions.bash(text, parts)),
            (f"zsh/_{name}", completions.zsh(text, parts)),
            (f"fish/{name}.fish", completions.fish(text, parts)),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m install.texts DIR")
    write(pathlib.Path(sys.argv[1]))
