/* The load that a lab guest puts on its host: busy vCPUs, direct disk I/O and Ethernet frames, each at a rate known beforehand.
 *
 *   load busy N                 N processes, the i-th pinned to CPU i and never asleep
 *   load duty ON_S OFF_S        one process on CPU 0, busy and asleep in turn
 *   load write|read RATE PATH   O_DIRECT blocks of 64 KiB, evenly spaced, RATE bytes a second, for as long as PATH is there
 *   load send RATE ADDRESS      UDP in frames of 1000 bytes as the tap counts them, RATE bytes a second
 *
 * Pacing is by absolute deadlines, so what is lost to a busy host is caught up; a backlog of more than a second is forgotten.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 65536, FRAME = 1000, FRAME_HEADERS = 14 + 20 + 8, DISCARD_PORT = 9 };

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sleep_until(int64_t deadline_ns)
{
    struct timespec t = { deadline_ns / 1000000000LL, deadline_ns % 1000000000LL };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) {}
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void busy(int64_t until_ns)
{
    for (volatile unsigned spin = 0;; spin++)
        if (spin % 4096 == 0 && until_ns && now_ns() >= until_ns)
            return;
}

/* Do `step` as often as makes `rate` units a second, `unit` at a time; in ticks of at least 5 ms, so that small units do not cost a wake-up each. */
static int paced(double rate, double unit, int (*step)(void))
{
    double interval_ns = unit / rate * 1e9;
    int64_t batch = interval_ns < 5e6 ? (int64_t)(5e6 / interval_ns) + 1 : 1;
    int64_t start = now_ns(), done = 0;
    for (;;) {
        for (int64_t i = 0; i < batch; i++, done++)
            if (step())
                return 1;
        int64_t deadline = start + (int64_t)(done * interval_ns), late = now_ns() - deadline;
        if (late > 1000000000LL)
            start += late;
        sleep_until(deadline);
    }
}

static int disk, writing;
static char *block;
static off_t disk_offset, disk_size;

static int transfer(void)
{
    ssize_t n = writing ? pwrite(disk, block, BLOCK, disk_offset) : pread(disk, block, BLOCK, disk_offset);
    disk_offset = disk_offset + 2 * BLOCK > disk_size ? 0 : disk_offset + BLOCK;
    return n != BLOCK;
}

static int sock;
static char payload[FRAME - FRAME_HEADERS];

static int send_frame(void)
{
    send(sock, payload, sizeof payload, 0); /* a full queue drops: the pace is kept */
    return 0;
}

int main(int argc, char **argv)
{
    const char *kind = argc > 2 ? argv[1] : "";
    double rate = argc > 2 ? atof(argv[2]) : 0;

    if (!strcmp(kind, "busy")) {
        for (int cpu = 1; cpu < rate; cpu++)
            if (!fork()) {
                pin(cpu);
                busy(0);
            }
        pin(0);
        busy(0);
    } else if (!strcmp(kind, "duty") && argc == 4) {
        pin(0);
        for (int64_t turn = now_ns();;) {
            busy(turn += (int64_t)(rate * 1e9));
            sleep_until(turn += (int64_t)(atof(argv[3]) * 1e9));
        }
    } else if ((!strcmp(kind, "write") || !strcmp(kind, "read")) && argc == 4) {
        writing = kind[0] == 'w';
        disk = open(argv[3], (writing ? O_WRONLY : O_RDONLY) | O_DIRECT);
        uint64_t size = 0;
        if (disk < 0 || ioctl(disk, BLKGETSIZE64, &size) || posix_memalign((void **)&block, 4096, BLOCK)) {
            perror(argv[3]);
            return 1;
        }
        disk_size = size;
        memset(block, 0xA5, BLOCK);
        return paced(rate, BLOCK, transfer);
    } else if (!strcmp(kind, "send") && argc == 4) {
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(DISCARD_PORT) };
        sock = socket(AF_INET, SOCK_DGRAM, 0);
        if (!inet_aton(argv[3], &to.sin_addr) || connect(sock, (struct sockaddr *)&to, sizeof to)) {
            perror(argv[3]);
            return 1;
        }
        return paced(rate, FRAME, send_frame);
    }
    fprintf(stderr, "usage: load busy N | duty ON_S OFF_S | write RATE PATH | read RATE PATH | send RATE ADDRESS\n");
    return 2;
}
