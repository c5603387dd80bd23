/* The floor: preads the same files as the family cpu, on kept descriptors, at the same pace.
 * floor CYCLES INTERVAL_MS < list of paths, one a line. Prints the seconds of CPU and the reads that it made. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double cpu(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    int cycles = argc > 1 ? atoi(argv[1]) : 10;
    long interval = argc > 2 ? atol(argv[2]) : 1000, count = 0, room = 0, reads = 0;
    int *fds = NULL;
    char line[4096];
    unsigned long long sum = 0;
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        int fd = open(line, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (count == room)
            fds = realloc(fds, (room = room ? 2 * room : 256) * sizeof *fds);
        fds[count++] = fd;
    }
    double begun = 0;
    for (int cycle = -1; cycle < cycles; cycle++) {
        struct timespec pause = {interval / 1000, interval % 1000 * 1000000};
        nanosleep(&pause, NULL);
        for (long i = 0; i < count; i++) {
            char text[4096];
            ssize_t got = pread(fds[i], text, sizeof text - 1, 0);
            if (got > 0) {
                text[got] = 0;
                sum += strtoull(text, NULL, 10);
                reads += cycle >= 0;
            }
        }
        if (cycle < 0)
            begun = cpu();
    }
    printf("%.9f %ld %llu\n", cpu() - begun, reads, sum);
    return 0;
}
