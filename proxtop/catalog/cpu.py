"""CPU: what the vCPUs use and wait for, what the threads around them cost, and the host's own time."""

from __future__ import annotations

from proxtop.catalog.schema import Column, Family, Metric, counters, gauges

_STAT = "/proc/stat"
_FREQ = "/sys/devices/system/cpu"
_SCHED = "/proc/PID/task/TID/schedstat"

HOST = (
    Metric("cpu_cores", "host", "", "gauge", "CORES", "/proc/stat", "CPUs that are online"),
    Metric("cpu_curfreq", "host", "MHz", "gauge", "MHZ", _FREQ, "mean current frequency of the cores"),
    Metric("cpu_user", "host", "%", "rate", "%USR", _STAT, "time in user space, guests included, of all cores"),
    Metric("cpu_system", "host", "%", "rate", "%SYS", _STAT, "time in the kernel"),
    Metric("cpu_idle", "host", "%", "rate", "%IDLE", _STAT, "time idle, waiting for I/O not included"),
    Metric("cpu_steal", "host", "%", "rate", "%STEAL", _STAT, "time taken by a hypervisor below this host"),
    Metric("cpu_minfreq", "host", "MHz", "gauge", "MINMHZ", _FREQ, "mean lowest frequency of the cores", True),
    Metric("cpu_maxfreq", "host", "MHz", "gauge", "MAXMHZ", _FREQ, "mean highest frequency of the cores", True),
    Metric("cpu_nice", "host", "%", "rate", "%NICE", _STAT, "time of niced processes, guests included", True),
    Metric("cpu_iowait", "host", "%", "rate", "%IOW", _STAT, "time idle while a task waits for I/O", True),
    Metric("cpu_irq", "host", "%", "rate", "%IRQ", _STAT, "time in hard interrupts", True),
    Metric("cpu_softirq", "host", "%", "rate", "%SIRQ", _STAT, "time in soft interrupts", True),
    Metric("cpu_guest", "host", "%", "rate", "%GUEST", _STAT, "time running guests; a part of cpu_user", True),
    Metric("cpu_guestnice", "host", "%", "rate", "%GNICE", _STAT, "the same of niced guests; a part of cpu_nice", True),
)

VM = (
    Metric("cpu_cores", "vm", "", "gauge", "VCPUS", "connector", "virtual CPUs"),
    Metric("cpu_total", "vm", "%", "rate", "%USED", _SCHED, "time its vCPUs ran: mean over the vCPUs, 0-100"),
    Metric(
        "cpu_steal",
        "vm",
        "%",
        "rate",
        "%RDY",
        _SCHED,
        "time its vCPUs were ready but waited for a core: mean over the vCPUs, 0-100",
    ),
    Metric(
        "cpu_other_total",
        "vm",
        "%",
        "rate",
        "%SYS",
        "process CPU clock less the vCPUs",
        "time of all its other threads (emulator, iothreads, workers, vhost), in % of one core; threads that ended within the cycle count",
        True,
    ),
    Metric(
        "cpu_other_steal",
        "vm",
        "%",
        "rate",
        "%OTHRDY",
        _SCHED,
        "time its other threads waited for a core, in % of one core",
        True,
    ),
    Metric(
        "cpu_throttled",
        "vm",
        "%",
        "rate",
        "%MLMTD",
        "cgroup cpu.stat",
        "time its vCPUs were held back by a CPU limit: mean over the vCPUs, 0-100; null where no limit is set",
        True,
    ),
)

VCPU = (
    Metric("vcpu_total", "vcpu", "%", "rate", "%USED", _SCHED, "time this vCPU ran"),
    Metric("vcpu_steal", "vcpu", "%", "rate", "%RDY", _SCHED, "time this vCPU was ready but waited for a core"),
    Metric("vcpu_cpu", "vcpu", "", "gauge", "CPU", "/proc/PID/task/TID/stat", "the host CPU on which it ran last"),
)

THREAD = (
    Metric("thread_count", "thread", "", "gauge", "THREADS", "/proc/PID/task", "threads of this role"),
    Metric("thread_total", "thread", "%", "rate", "%USED", _SCHED, "time these threads ran, in % of one core"),
    Metric(
        "thread_steal", "thread", "%", "rate", "%RDY", _SCHED, "time these threads waited for a core, in % of one core"
    ),
)

COLUMNS = (
    *gauges("host", "", (("cores", "CPUs online"),)),
    *gauges(
        "host", "MHz", (("curfreq", "mean current frequency"), ("minfreq", "mean lowest"), ("maxfreq", "mean highest"))
    ),
    *counters(
        "host",
        "ticks",
        tuple(
            (name, f"the field '{name}' of /proc/stat, in 1/USER_HZ s")
            for name in ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
        ),
    ),
    Column("gen", "vm", "", "info", "start time and PID in one number: another value is another process"),
    *gauges("vm", "", (("cores", "virtual CPUs"),)),
    *counters("vm", "ns", (("process_ns", "CPU time of the process, ended threads included"),)),
    *counters("vm", "us", (("throttled_us", "time its cgroup was throttled"),)),
    Column("gen", "vcpu", "", "info", "thread id"),
    *counters("vcpu", "ns", (("run_ns", "time on a CPU"), ("wait_ns", "time runnable in a run queue"))),
    *gauges("vcpu", "", (("cpu", "CPU it ran on last"),)),
    Column("role", "thread", "", "info", "emulator, iothread, worker or vhost"),
    Column("own", "thread", "", "info", "whether the thread belongs to the process (a vhost kernel thread does not)"),
    *counters("thread", "ns", (("run_ns", "time on a CPU"), ("wait_ns", "time runnable in a run queue"))),
)

FAMILY = Family("cpu", "--cpu", "CPU metrics", (*HOST, *VM, *VCPU, *THREAD), COLUMNS)
