"""The package's life in a Debian root, and a later version of it."""

from __future__ import annotations

import pathlib
import subprocess

from tests.package.roots import REPOSITORY, Root

NEWER = "0.9.9+deb"
CONFIGURATION = "/etc/proxtop.conf"


def newer(package: pathlib.Path, place: pathlib.Path) -> pathlib.Path:
    """The same package as a later version with another default configuration."""
    tree = place / "newer"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    lines = [f"Version: {NEWER}" if line.startswith("Version:") else line for line in control.read_text().splitlines()]
    control.write_text("\n".join(lines) + "\n")
    with open(tree / CONFIGURATION.lstrip("/"), "a") as configuration:
        configuration.write("# new in this version\n")
    built = place / "newer.deb"
    subprocess.run(
        ["dpkg-deb", "-b", "-Znone", "--root-owner-group", str(tree), str(built)], check=True, capture_output=True
    )
    return built


def build(root: Root) -> pathlib.Path:
    """The package, built in there for that release."""
    root.install("make")
    root.run(f"cd {REPOSITORY} && make -s deb packages=/root/packages", timeout=600)
    (built,) = (root.place / "upper/root/packages").glob("*.deb")
    return built


def lives(root: Root, package: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The whole life of the package in a system that has nothing of it."""
    depends = subprocess.run(
        ["dpkg-deb", "-f", str(package), "Depends"], capture_output=True, text=True, check=True
    ).stdout
    root.install(*(part.split("(")[0].strip() for part in depends.split(",")), "libvirt0", "man-db")
    before = root.listing()

    root.put(package, "/proxtop.deb")
    root.run("apt-get install -q -y --no-install-recommends /proxtop.deb")
    assert root.run("proxtop --version").startswith("proxtop ")
    assert '"domains":[]' in root.run("proxtop --runs=1 --printer=json --cpu 2> /dev/null")
    assert root.run("/opt/proxtop/bin/python3 -c 'import libvirt, zmq; print(zmq.has(\"curve\"))'") == "True\n"
    assert "proxtop(1)" in root.run("mandb -q; whatis proxtop").replace(" ", "")
    assert (
        root.run("id -nG proxtop; getent passwd proxtop | cut -d: -f6,7") == "proxtop\n/nonexistent:/usr/sbin/nologin\n"
    )
    assert root.run("systemctl is-enabled proxtopd") == "enabled\n"
    others = root.run("systemctl is-enabled proxtop proxtop-agg proxprofiler || true")
    assert others.split() == ["disabled", "disabled", "disabled"]
    assert root.run("find /opt/proxtop /usr/bin/proxtop* -perm /022 ! -type l -o ! -user root") == ""
    assert root.run("cd /usr/lib/systemd/system; systemd-analyze verify prox*.service") == ""

    # Never touched: the new default comes in. Edited: it stays, the new one beside it.
    root.put(newer(package, tmp_path), "/newer.deb")
    upgrade = "apt-get install -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
    twin = root.run(f"cp -a {CONFIGURATION} /root/; {upgrade} /newer.deb; tail -n 1 {CONFIGURATION}")
    assert twin.endswith("# new in this version\n")
    root.run(f"apt-get install -q -y --allow-downgrades {upgrade.partition('-y')[2]} /proxtop.deb")
    root.run(f"echo PROXTOP_TARGET=10.0.0.1:5000 >> {CONFIGURATION}; {upgrade} /newer.deb")
    assert root.run("dpkg-query -W -f '${Version} ${db:Status-Status}' proxtop") == f"{NEWER} installed"
    assert root.run(f"tail -n 1 {CONFIGURATION}") == "PROXTOP_TARGET=10.0.0.1:5000\n"
    assert root.run(f"tail -n 1 {CONFIGURATION}.dpkg-dist") == "# new in this version\n"
    assert root.run("proxtop --version").startswith("proxtop ")

    root.run("proxtop keys new here; mkdir -p /var/log/proxtop; touch /var/log/proxtop/cpu.log")
    root.run("apt-get remove -q -y proxtop")
    assert root.run(f"ls -d /usr/bin/proxtop* /opt/proxtop 2> /dev/null || tail -n 1 {CONFIGURATION}").endswith(
        ":5000\n"
    )
    assert "/opt" not in root.run("ls -d /opt/proxtop 2> /dev/null || true")

    root.run("apt-get purge -q -y proxtop; rm /*.deb /root/proxtop.conf")
    after = root.listing()
    assert after - before == set()
    assert before - after == set()
    assert root.run("getent passwd proxtop proxtop-agg || getent group proxtop || echo none") == "none\n"
