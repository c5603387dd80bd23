"""A configuration → supervisord's: one program for each worker, and the file that tells the worker what to do."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
from dataclasses import dataclass

from proxtop.connectors import Settings, detect
from proxtopd.configuration import Configuration, ConfigurationError
from proxtopd.places import Account, Places
from proxtopd.registry import Post, posts
from proxtopd.setup import Setup
from proxtopd.worker import MODULE, SETUP

STEADY_S = 10
"""A worker that ends earlier is FATAL to supervisord at once, and left to proxtopd, which starts it again with growing
pauses; one that ends later supervisord itself starts again at once."""

_STOP_S = 3
_NUMBERS = {"dac_read_search": 2, "sys_ptrace": 19}
"""The capabilities that a worker may keep (linux/capability.h)."""

_LOG_BYTES = "256KB"


@dataclass(frozen=True, slots=True)
class Program:
    """A worker as supervisord is to start it."""

    name: str
    user: str
    command: tuple[str, ...]
    module: str
    setup: str


def programs(configuration: Configuration, places: Places, account: Account | None) -> dict[str, Program]:
    """The workers by name, the broker first."""
    connector = configuration["PROXTOP_CONNECTOR"] or None
    settings = _settings(configuration)
    if connector is None and detect(settings) == "proxmox":
        connector = "proxmox"
    made = {}
    for post in posts(configuration):
        rooted = post.kind.rooted and connector == "proxmox"
        setup = _setup(configuration, places, post, connector, trusted=account is not None and account.uid != 0)
        command = (*_setpriv(post, account, rooted=rooted), sys.executable, "-P", "-m", "proxtopd.worker", post.name)
        user = _caller() if account is None else "root" if rooted else account.user
        made[post.name] = Program(post.name, user, command, post.kind.module, setup.dump())
    return made


def alone(name: str, configuration: Configuration) -> tuple[str, str]:
    """The module of one worker and its setup, for a supervisord.conf that proxtopd did not write."""
    wanted = {post.name: post for post in posts(configuration)}
    if name not in wanted:
        raise ConfigurationError(f"there is no worker {name!r}; there are {', '.join(wanted)}")
    post, connector = wanted[name], configuration["PROXTOP_CONNECTOR"] or None
    return post.kind.module, _setup(configuration, Places.of(configuration), post, connector, trusted=False).dump()


def _caller() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _settings(configuration: Configuration) -> Settings:
    return Settings(
        uri=configuration["PROXTOP_URI"] or "qemu:///system",
        uri_given=bool(configuration["PROXTOP_URI"]),
        root=os.environ.get("PROXTOP_ROOT", "/"),
    )


def _setup(configuration: Configuration, places: Places, post: Post, connector: str | None, *, trusted: bool) -> Setup:
    settings = _settings(configuration)
    return Setup(
        directory=places.run,
        node=configuration.node,
        node_given=bool(configuration["PROXTOP_NODE"]),
        interval=configuration.interval,
        families=configuration.families if post.kind.families else (),
        connector=connector,
        uri=settings.uri,
        uri_given=settings.uri_given,
        procfs=configuration["PROXTOP_PROCFS"],
        procfs_given="PROXTOP_PROCFS" in configuration.given,
        sysfs=configuration["PROXTOP_SYSFS"],
        root=settings.root,
        verbose=configuration["PROXTOP_LOG_LEVEL"] == "debug",
        trusted=trusted,
        options=post.options,
    )


def _setpriv(post: Post, account: Account | None, *, rooted: bool) -> tuple[str, ...]:
    """What takes away every privilege that the worker does not need, before any of its own code runs."""
    tool = shutil.which("setpriv")
    if tool is None:
        raise ConfigurationError("setpriv is missing; install Debian's package util-linux")
    if account is None:
        return tool, "--no-new-privs", "--"
    kept = ",".join(["-all", *(f"+{name}" for name in post.kind.capabilities if _held(name))])
    groups = "--clear-groups" if rooted else "--init-groups"
    user = "root" if rooted else account.user
    return (
        tool, f"--reuid={user}", f"--regid={account.group}", groups, f"--inh-caps={kept}", f"--ambient-caps={kept}",
        f"--bounding-set={kept}", "--no-new-privs", "--",
    )  # fmt: skip


def _held(capability: str) -> bool:
    """Whether we have it to give: in a container root often has not, and what can't be given would fail the start."""
    with open("/proc/self/status", encoding="ascii") as file:
        permitted = next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))
    return bool(permitted & 1 << _NUMBERS[capability])


def write(programs: dict[str, Program], places: Places) -> None:
    """Writes supervisord's configuration and the workers' setups, each whole or not at all."""
    for program in programs.values():
        _replace(places.setup(program.name), program.setup, 0o644)
    _replace(places.program, text(programs, places), 0o600)


def _replace(path: str, content: str, mode: int) -> None:
    """Writes a file anew unless it says that already: a full disk then is no obstacle to a start."""
    try:
        if _read(path) != content:
            _write(path, content, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, UnicodeDecodeError):  # or torn by a crash: it is written anew
        return None


def _write(path: str, content: str, mode: int) -> None:
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
    os.rename(beside, path)


def text(programs: dict[str, Program], places: Places) -> str:
    """supervisord's configuration. The digest of a worker's setup stands in its environment, so that supervisord itself
    sees what a reload changed."""
    user = "user=root\n" if os.geteuid() == 0 else ""
    parts = [
        "; Written by proxtopd anew at each start and reload: change proxtop.conf instead.\n"
        f"[unix_http_server]\nfile={_plain(places.supervisor)}\nchmod=0600\n\n"
        f"[supervisord]\n{user}nodaemon=true\nidentifier=proxtopd\ndirectory=/\nloglevel=info\n"
        f"logfile={_plain(places.log('supervisord'))}\nlogfile_maxbytes={_LOG_BYTES}\nlogfile_backups=1\n"
        f"pidfile={_plain(places.own)}/supervisord.pid\nchildlogdir={_plain(places.logs)}\n\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    ]
    parts += [_section(program, places) for program in programs.values()]
    return "\n".join(parts)


def _section(program: Program, places: Places) -> str:
    digest = hashlib.sha256(program.setup.encode()).hexdigest()[:16]
    environment = {SETUP: places.setup(program.name), MODULE: program.module, "PROXTOP_DIGEST": digest}
    variables = ",".join(f'{name}="{_plain(value)}"' for name, value in environment.items())
    return (
        f"[program:{program.name}]\ncommand={_plain(shlex.join(program.command))}\nenvironment={variables}\n"
        f"priority={1 if program.name == 'broker' else 2}\nautostart=true\nautorestart=true\n"
        f"startsecs={STEADY_S}\nstartretries=0\n"
        f"stopwaitsecs={_STOP_S}\nredirect_stderr=true\nstdout_logfile={_plain(places.log(program.name))}\n"
        f"stdout_logfile_maxbytes={_LOG_BYTES}\nstdout_logfile_backups=1\n"
    )


def _plain(text: str) -> str:
    """The same, where supervisord's configuration can say it: what begins a comment or an expansion it can't."""
    if any(char in text for char in '%";#\n\r'):
        raise ConfigurationError(f"{text!r}: supervisord can't have this in a path")
    return text
