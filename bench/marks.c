/* What the program that valgrind's callgrind runs calls to have its instructions counted between two marks. */
#include <valgrind/callgrind.h>

void begin(void)
{
    CALLGRIND_ZERO_STATS;
}

void end(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
}
