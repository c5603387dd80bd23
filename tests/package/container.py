"""What a container engine would do, as far as our Dockerfile and run line ask for it, in roots of debootstrap."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.package.roots import REPOSITORY, Root

# What Docker leaves a container without --cap-add.
DEFAULT_CAPABILITIES = (
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service", "net_raw",
    "sys_chroot", "mknod", "audit_write", "setfcap",
)  # fmt: skip


@dataclass
class Image:
    """A root and how it is started."""

    root: Root
    folder: str = "/"
    entry: list[str] = field(default_factory=list)

    def run(self, line: str) -> str:
        """The output of `docker run [-v FROM:TO[:ro]]… IMAGE ARGUMENTS`, with the capabilities that Docker leaves."""
        program, command, *words = shlex.split(line)
        assert (program, command) == ("docker", "run")
        mounts = []
        while words[0].startswith("-"):
            option, value = words.pop(0), words.pop(0)
            assert option == "-v", f"{option} is not known here"
            source, target, *mode = value.split(":")
            mounts.append((source, target, "ro" if mode == ["ro"] else "rw"))
        arguments = words[1:]
        bounds = ",".join(("-all", *(f"+{name}" for name in DEFAULT_CAPABILITIES)))
        start = shlex.join(["setpriv", f"--bounding-set={bounds}", *self.entry, *arguments])
        return self.root.run(f"cd {self.folder}; exec {start}", mounts=mounts)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Dockerfile: (NAME, rest), lines joined, comments left out."""
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        yield name.upper(), rest.strip()


def build(text: str, base: Callable[[str], Root]) -> Image:
    """The last stage of a Dockerfile, built; `base` makes a root of the image that FROM names."""
    stages: dict[str, Image] = {}
    image: Image | None = None
    for name, rest in instructions(text):
        if name == "FROM":
            source, *alias = rest.split()
            image = Image(base(source))
            stages[alias[1] if alias else str(len(stages))] = image
            continue
        assert image, f"{name} before FROM"
        if name == "RUN":
            image.root.run(f"cd {image.folder}; {rest}", timeout=600)
        elif name == "WORKDIR":
            image.folder = rest
        elif name == "ENTRYPOINT":
            image.entry = json.loads(rest)
        elif name == "COPY":
            _copy(image, stages, rest.split())
        else:
            raise AssertionError(f"{name} is not known here; teach tests/package/container.py")
    assert image
    return image


def _copy(image: Image, stages: dict[str, Image], words: list[str]) -> None:
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root
        source, target = words
        _merge(origin.place / "upper" / source.strip("/"), image.root, target)
        return
    source, target = words
    assert source == "."
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    place = image.root.place / "upper" / target.strip("/")
    shutil.copytree(
        REPOSITORY, place, symlinks=True, ignore=shutil.ignore_patterns(*(p.removeprefix("**/") for p in ignored))
    )


def _merge(source: pathlib.Path, root: Root, target: str) -> None:
    for path in sorted(source.rglob("*")):
        copied = root.place / "upper" / target.strip("/") / path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            copied.mkdir(exist_ok=True)
        else:
            shutil.copy2(path, copied, follow_symlinks=False)
