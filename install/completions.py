"""Completions for bash, zsh and fish, from what --help says and from the tables of values that options take."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from install.helptext import HelpText, Option
from proxtop.options import OUTPUTS, PRINTERS

CHOICES = {"--printer": PRINTERS, "--output": OUTPUTS}
FILES = ("--target", "--key", "--server-key", "--bus", "--config")
DIRECTORIES = ("--procfs", "--sysfs", "--directory")
LISTED = {"--netdev": "/sys/class/net", "--storedev": "/sys/block"}
"""Options whose values are the names in a directory."""


def _long(option: Option) -> str:
    return option.names[-1]


def _forms(option: Option) -> list[str]:
    """As words to complete: a value follows the long form's `=`."""
    return [f"{name}=" if option.takes_value and name.startswith("--") else name for name in option.names]


def _words(text: HelpText) -> list[str]:
    return [word for option in text.options for word in _forms(option)] + [_first(row.words) for row in text.commands]


def _first(words: str) -> str:
    return words.split(" ")[0]


def bash(text: HelpText, parts: Sequence[HelpText] = ()) -> str:
    """For bash 4 and later, with or without bash-completion; `=` stands among bash's word breaks."""
    function = _function(text.name)
    lines = [f"# bash completion of {text.name}", f"{function}() {{"]
    lines += ["    local word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD-1]}"]
    lines += [
        "    if [[ $word == = ]]; then word=; elif [[ $option == = ]]; then option=${COMP_WORDS[COMP_CWORD-2]}; fi"
    ]
    lines += ["    case $option in"]
    for option in dict.fromkeys(option for page in (text, *parts) for option in page.options):
        if option.takes_value:
            lines.append(f"        {'|'.join(option.names)}) {_bash_values(_long(option))}; return ;;")
    lines += ["    esac"]
    for part in parts:
        lines += [f"    if [[ ${{COMP_WORDS[1]}} == {part.name.split(' ')[-1]} && COMP_CWORD -gt 1 ]]; then"]
        lines += [f'        mapfile -t COMPREPLY < <(compgen -W {_quoted(_words(part))} -- "$word")']
        lines += ["    else"]
    extra = [part.name.split(" ")[-1] for part in parts]
    lines += [f'    mapfile -t COMPREPLY < <(compgen -W {_quoted([*_words(text), *extra])} -- "$word")']
    lines += ["    fi" for _ in parts]
    lines += ["    if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi", "}"]
    lines += [f"complete -F {function} {text.name}"]
    return "\n".join(lines) + "\n"


def _bash_values(option: str) -> str:
    if option in CHOICES:
        return f'mapfile -t COMPREPLY < <(compgen -W {_quoted(CHOICES[option])} -- "$word")'
    if option in LISTED:
        return f'mapfile -t COMPREPLY < <(compgen -W "$(ls {LISTED[option]} 2> /dev/null)" -- "$word")'
    if option in FILES or option in DIRECTORIES:
        kind = "-f" if option in FILES else "-d"
        return f'compopt -o filenames; mapfile -t COMPREPLY < <(compgen {kind} -- "$word")'
    return "COMPREPLY=()"


def zsh(text: HelpText, parts: Sequence[HelpText] = ()) -> str:
    """An autoloaded function for zsh's completion system."""
    lines = [f"#compdef {text.name}"]
    for part in parts:
        word = part.name.split(" ")[-1]
        lines += [f"if (( CURRENT > 2 )) && [[ $words[2] == {word} ]]; then"]
        lines += ["    shift words; (( CURRENT-- ))", f"    {_zsh_arguments(part)}", "    return", "fi"]
    extra = [(part.name.split(" ")[-1], f"{part.name} --help tells") for part in parts]
    lines += [_zsh_arguments(text, extra)]
    return "\n".join(lines) + "\n"


def _zsh_arguments(text: HelpText, extra: Sequence[tuple[str, str]] = ()) -> str:
    specifications = [word for option in text.options for word in _zsh_option(option)]
    commands = [(_first(row.words), row.help) for row in text.commands] + list(extra)
    if commands:
        described = " ".join(f"{word}\\:{shlex.quote(_plain(meaning))}" for word, meaning in commands)
        specifications.append(shlex.quote(f"1:command:(({described}))"))
        specifications.append("'*:argument:_files'")
    return " \\\n    ".join(["_arguments -s", *specifications])


def _zsh_option(option: Option) -> Iterator[str]:
    value = f":value:{_zsh_values(_long(option))}" if option.takes_value else ""
    others = f"({' '.join(option.names)})" if len(option.names) > 1 else ""
    for name in option.names:
        form = f"{name}=" if option.takes_value and name.startswith("--") else f"{name}+" if value else name
        yield shlex.quote(f"{others}{form}[{_plain(option.help)}]{value}")


def _zsh_values(option: str) -> str:
    if option in CHOICES:
        return f"({' '.join(CHOICES[option])})"
    if option in LISTED:
        return f"_path_files -W {LISTED[option]}"
    return "_files" if option in FILES else "_files -/" if option in DIRECTORIES else " "


def _plain(text: str) -> str:
    """Without what zsh's specifications take for their own."""
    return "".join("" if char in "[]'\\" else " -" if char == ":" else char for char in text)


def fish(text: HelpText, parts: Sequence[HelpText] = ()) -> str:
    """For fish 3."""
    lines = [f"complete -c {text.name} -f"]
    taken = " ".join(part.name.split(" ")[-1] for part in parts)
    unless = f" -n 'not __fish_seen_subcommand_from {taken}'" if parts else ""
    lines += [_fish_option(text.name, option, unless) for option in text.options]
    rows = [(_first(row.words), row.help) for row in text.commands]
    rows += [(part.name.split(" ")[-1], f"{part.name} --help tells") for part in parts]
    lines += [_fish_command(text.name, word, meaning, "__fish_is_first_arg") for word, meaning in rows]
    for part in parts:
        word = part.name.split(" ")[-1]
        seen = f"__fish_seen_subcommand_from {word}"
        lines += [_fish_option(text.name, option, f" -n '{seen}'") for option in part.options]
        lines += [_fish_command(text.name, _first(row.words), row.help, seen) for row in part.commands]
    return "\n".join(lines) + "\n"


def _fish_command(name: str, word: str, meaning: str, when: str) -> str:
    return f"complete -c {name} -n {shlex.quote(when)} -a {word} -d {_fish_quoted(meaning)}"


def _fish_option(name: str, option: Option, when: str) -> str:
    forms = [f"-l {form[2:]}" if form.startswith("--") else f"-s {form[1:]}" for form in option.names]
    return f"complete -c {name}{when} {' '.join(forms)}{_fish_values(option)} -d {_fish_quoted(option.help)}"


def _fish_values(option: Option) -> str:
    long = _long(option)
    if not option.takes_value:
        return ""
    if long in CHOICES:
        return f" -x -a {shlex.quote(' '.join(CHOICES[long]))}"
    if long in LISTED:
        return f" -x -a '(command ls {LISTED[long]})'"
    return " -r -F" if long in FILES + DIRECTORIES else " -x"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _function(name: str) -> str:
    return "_" + name.replace("-", "_")


def _quoted(words: Sequence[str]) -> str:
    return shlex.quote(" ".join(words))
