"""A QEMU's command line, from /proc/PID/cmdline: which VM it is, its disks, its network back ends, its monitors.

Arguments are separated by NUL. Options are `key=value,…`, where `,,` stands for a comma and the first part may be a
bare value (qemu-system(1), util/keyval.c); -blockdev, -netdev and -device take JSON too. Nothing here fails on any
bytes: what can't be read is left out, and a process that is no QEMU is None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_PROGRAM = re.compile(r"qemu-system-[\w.+-]+|qemu-kvm|qemu-dm|kvm|qemu")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")  # QEMU takes no other
_DRIVE_SHORTHANDS = {"hda": "ide0-hd0", "hdb": "ide0-hd1", "hdc": "ide1-hd0", "hdd": "ide1-hd1", "sd": "sd0",
                     "mtdblock": "mtd0", "pflash": "pflash0"}  # fmt: skip
_LONE = """
    S s h help version snapshot nographic nodefaults no-user-config nouserconfig nodefconfig no-reboot no-shutdown
    no-acpi no-hpet no-fd-bootchk daemonize enable-kvm no-kvm no-kvm-irqchip only-migratable usb full-screen sdl
    curses mem-prealloc singlestep preconfig enable-fips win2k-hack rtc-td-hack alt-grab ctrl-grab no-quit show-cursor
    portrait semihosting old-param xen-attach xen-domid-restrict enable-sync-profile async-teardown std-vga localtime
"""
_TAKING = """
    name uuid smbios pidfile id smp m netdev net nic drive blockdev device hda hdb hdc hdd sd mtdblock pflash cdrom
    chardev mon qmp qmp-pretty monitor machine M append fw_cfg prom-env kernel initrd dtb
"""
# an option that is in neither takes the argument that follows it, unless that looks like an option
_ALONE, _WITH_ARGUMENT = frozenset(_LONE.split()), frozenset(_TAKING.split())
_REMOVABLE = {"ide-cd": "cdrom", "scsi-cd": "cdrom", "floppy": "floppy"}
_SIZES = {"": 1 << 10, "b": 0, "k": 1, "m": 1 << 10, "g": 1 << 20, "t": 1 << 30, "p": 1 << 40, "e": 1 << 50}
_DEFAULT_KB = 128 << 10
_DEEPEST = 16
_MOST_CPUS = 1 << 20
_MOST_KB = 1 << 54

Options = dict[str, str]


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk's back end: QEMU's id or node name and the file, device or network name that it opens (None: no medium).
    `kind` is disk, cdrom, floppy, pflash (firmware), or node for one that another is built upon."""

    id: str
    file: str | None = None
    kind: str = "disk"


@dataclass(frozen=True, slots=True)
class Net:
    """A network back end: `ifname` is the tap where the command line names it; with `fd` a descriptor was handed over
    and no name can be known from here."""

    id: str
    type: str
    ifname: str | None = None
    fd: bool = False
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the guest: driver, id, and the drive or network back end that it uses."""

    driver: str
    id: str | None = None
    drive: str | None = None
    netdev: str | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What the command line of a QEMU says; None or empty where it says nothing. `machine` is "none" in a QEMU that was
    started only to be asked what it can do."""

    program: str
    name: str | None = None
    debug_threads: bool = False
    uuid: str | None = None
    vmid: int | None = None
    pidfile: str | None = None
    machine: str | None = None
    cores: int = 1
    memory_kb: int = _DEFAULT_KB
    drives: tuple[Drive, ...] = ()
    nets: tuple[Net, ...] = ()
    devices: tuple[Device, ...] = ()
    monitors: tuple[str, ...] = ()
    """Unix sockets that QMP is spoken on."""


IDENTITY = frozenset(("name", "uuid", "smbios", "id", "machine", "M"))
"""The options that say which VM it is, and whether it runs one at all: a third of the work of all."""


def is_qemu(program: str) -> bool:
    """Whether a program of this name (its path is ignored) is a QEMU system emulator."""
    return _PROGRAM.fullmatch(program.rpartition("/")[2]) is not None


def parse_cmdline(text: bytes, only: frozenset[str] | None = None) -> CommandLine | None:
    """The command line of a QEMU; None where it is not one (no arguments at all: a kernel thread, an ended process).
    What options there are but `only` these is not looked at."""
    argv = text.decode(errors="replace").split("\0")
    if not argv[0] or not is_qemu(argv[0]):
        return None
    build = _Build()
    for option, value in _options(argv[1:]):
        if only is None or option in only:
            build.take(option, value)
    return build.done(argv[0].rpartition("/")[2])


def suboptions(value: str, first: str = "") -> Options:
    """`key=value,…` as a dict; a bare first part is the value of `first`, another bare part is "on" (or "off": nokey).
    JSON is taken too, its nested members under dotted names."""
    if value.startswith("{"):
        return _from_json(value)
    options: Options = {}
    for number, part in enumerate(_parts(value)):
        key, equals, text = part.partition("=")
        if equals:
            options[key] = text
        elif number == 0 and first:
            options[first] = key
        elif key:
            options[key] = "on"
    return options


def parse_size_kb(text: str, default: str = "") -> int | None:
    """KiB of QEMU's sizes ("512", "2G", "1048576k") below 2^64 bytes; a bare number is in MiB, as -m has it."""
    match = re.fullmatch(r"(\d{1,15})(?:\.(\d{1,9}))?([bkmgtpe]?)", text.strip().lower(), re.ASCII)
    if match is None:
        return None
    whole, part, unit = match.groups()
    factor = _SIZES[unit or default]
    if not factor:
        return int(whole) >> 10
    size = int(whole) * factor + (int(int(part) * factor / 10 ** len(part)) if part else 0)
    return size if size < _MOST_KB else None


def _parts(value: str) -> list[str]:
    return [part.replace("\0", ",") for part in value.replace(",,", "\0").split(",")]


def _options(arguments: list[str]) -> Iterator[tuple[str, str]]:
    """(option without dashes, its argument or ""); a disk image given alone is "hda"."""
    position, end = 0, len(arguments)
    while position < end:
        argument = arguments[position]
        position += 1
        if not argument.startswith("-"):
            if argument:
                yield "hda", argument
            continue
        option = argument[2:] if argument.startswith("--") else argument[1:]
        takes = option in _WITH_ARGUMENT or (
            option not in _ALONE
            and position < end
            and not (arguments[position].startswith("-") and arguments[position][1:])
        )
        if takes and position < end:
            yield option, arguments[position]
            position += 1
        else:
            yield option, ""


def _from_json(text: str) -> Options:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    options: Options = {}
    if isinstance(value, dict):
        _flatten(value, "", options, 0)
    return options


def _flatten(value: dict[str, object], prefix: str, options: Options, depth: int) -> None:
    for key, member in value.items():
        name = prefix + key
        if isinstance(member, dict):
            if depth < _DEEPEST:
                _flatten(member, f"{name}.", options, depth + 1)
        elif isinstance(member, bool):
            options[name] = "on" if member else "off"
        elif isinstance(member, str | int | float):
            options[name] = _clean(str(member))


def _clean(text: str) -> str:
    """JSON may hold lone surrogates, which no frame can carry."""
    return text.encode(errors="replace").decode() if not text.isascii() else text


def _number(text: str | None, most: int) -> int | None:
    return int(text) if text and len(text) < 12 and text.isascii() and text.isdigit() and int(text) <= most else None


class _Build:
    """Collects what the options say, in their order."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.debug_threads = False
        self.uuid: str | None = None
        self.smbios: str | None = None
        self.vmid: int | None = None
        self.pidfile: str | None = None
        self.machine: str | None = None
        self.cores = 1
        self.memory_kb = _DEFAULT_KB
        self.drives: list[Drive] = []
        self.nets: list[Net] = []
        self.devices: list[Device] = []
        self.nodes: dict[str, Options] = {}
        self.firmware: set[str] = set()
        self.sockets: dict[str, str] = {}
        self.controls: list[str] = []
        self.monitors: list[str] = []

    def take(self, option: str, value: str) -> None:
        if option == "name":
            options = suboptions(value, "guest")
            self.name = options.get("guest", self.name)
            self.debug_threads = options.get("debug-threads", "off") in ("on", "yes", "true")
        elif option == "uuid":
            self.uuid = value
        elif option == "smbios":
            options = suboptions(value)
            if options.get("type") == "1":
                self.smbios = options.get("uuid", self.smbios)
        elif option == "id":
            self.vmid = _number(value, 1 << 31)
        elif option == "pidfile":
            self.pidfile = value
        elif option in ("machine", "M"):
            options = suboptions(value, "type")
            self.machine = options.get("type", self.machine)
            self.firmware.update(options[key] for key in ("pflash0", "pflash1") if key in options)
        elif option == "smp":
            self.cores = _cores(suboptions(value, "cpus"))
        elif option == "m":
            size = parse_size_kb(suboptions(value, "size").get("size", ""))
            self.memory_kb = self.memory_kb if size is None else size
        elif option in ("netdev", "net", "nic"):
            self._take_net(option, suboptions(value, "type"))
        elif option == "device":
            self._take_device(suboptions(value, "driver"))
        elif option == "blockdev":
            options = suboptions(value, "driver")
            if node := options.get("node-name"):
                self.nodes[node] = options
        elif option == "drive":
            self._take_drive(suboptions(value))
        elif option in _DRIVE_SHORTHANDS:
            kind = "pflash" if option == "pflash" else "disk"
            self.drives.append(Drive(_DRIVE_SHORTHANDS[option], value or None, kind))
        elif option == "chardev":
            options = suboptions(value, "backend")
            if options.get("backend") == "socket" and "id" in options and "path" in options:
                self.sockets[options["id"]] = options["path"]
        elif option == "mon":
            options = suboptions(value, "chardev")
            if options.get("mode") == "control" and "chardev" in options:
                self.controls.append(options["chardev"])
        elif option in ("qmp", "qmp-pretty") and value.startswith("unix:"):
            path = _parts(value[5:])[0]
            self.monitors.append(path)

    def _take_net(self, option: str, options: Options) -> None:
        kind = options.get("type", "")
        if option == "net" and kind == "nic":
            self.devices.append(Device(options.get("model", "nic"), mac=options.get("macaddr")))
        elif kind not in ("", "none"):
            handed = any(key in options for key in ("fd", "fds"))
            name = options.get("id", options.get("name", f"net{len(self.nets)}"))
            self.nets.append(Net(name, kind, options.get("ifname"), handed, options.get("mac", options.get("macaddr"))))

    def _take_device(self, options: Options) -> None:
        if driver := options.get("driver"):
            self.devices.append(
                Device(driver, options.get("id"), options.get("drive"), options.get("netdev"), options.get("mac"))
            )

    def _take_drive(self, options: Options) -> None:
        interface = options.get("if", "")
        unit = options.get("unit", options.get("index"))
        name = options.get("id")
        if name is None:
            number = unit or str(sum(drive.id.startswith(interface or "ide") for drive in self.drives))
            name = f"{interface or 'ide'}{number}"
        kind = interface if interface in ("floppy", "pflash") else "disk"
        kind = "cdrom" if options.get("media") == "cdrom" else kind
        self.drives.append(Drive(name, options.get("file", options.get("file.filename")) or None, kind))

    def done(self, program: str) -> CommandLine:
        nodes = [Drive(node, self._file(options, 0)) for node, options in self.nodes.items()]
        kinds = {
            value: "node" for node in self.nodes.values() for key, value in node.items() if key in ("file", "backing")
        }
        kinds |= dict.fromkeys(self.firmware, "pflash")
        for device in self.devices:
            if device.drive is not None and device.driver in _REMOVABLE:
                kinds[device.drive] = _REMOVABLE[device.driver]
        drives = tuple(Drive(drive.id, drive.file, kinds.get(drive.id, drive.kind)) for drive in (*nodes, *self.drives))
        monitors = [*self.monitors, *(self.sockets[name] for name in self.controls if name in self.sockets)]
        return CommandLine(
            program,
            self.name,
            self.debug_threads,
            next((uuid for uuid in (self.uuid, self.smbios) if uuid and _UUID.fullmatch(uuid)), None),
            self.vmid,
            self.pidfile,
            self.machine,
            self.cores,
            self.memory_kb,
            drives,
            tuple(self.nets),
            tuple(self.devices),
            tuple(monitors),
        )

    def _file(self, options: Options, depth: int) -> str | None:
        """What a block node opens in the end: its own file name, or that of the node under it."""
        for prefix in ("", "file.", "file.file.", "file.file.file."):
            for key in ("filename", "path", "image", "lun"):
                if name := options.get(prefix + key):
                    return f"{options['pool']}/{name}" if key == "image" and "pool" in options else name
            below = options.get(f"{prefix}file")
            if below is not None and below in self.nodes and depth < _DEEPEST:
                return self._file(self.nodes[below], depth + 1)
        return None


def _cores(options: Options) -> int:
    """The vCPUs at start: given, or the product of the topology."""
    cpus = _number(options.get("cpus"), _MOST_CPUS)
    if cpus:
        return cpus
    product = 1
    for level in ("drawers", "books", "sockets", "dies", "clusters", "modules", "cores", "threads"):
        product *= _number(options.get(level), _MOST_CPUS) or 1
    if product == 1:
        product = _number(options.get("maxcpus"), _MOST_CPUS) or 1
    return min(product, _MOST_CPUS)
