/* The file of an event log, its clock, and the memory that is resident.

   Events are put together in raw memory and written by the thread that logs: when the
   buffer is full, and by the first event that comes REFMAP_LOG_DELAY after the last
   write.  There is no thread of our own: os.fork() would warn of it.  A fatal signal
   writes what is left.  So `kill -9` costs events of the last REFMAP_LOG_DELAY, and
   nothing else costs any.

   The file is not mapped, which would lose nothing at all: a process gets SIGBUS where
   a mapped file can't grow, or is truncated. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "log.h"

#include <errno.h>
#include <fcntl.h>                // open()
#include <sys/stat.h>             // fstat()
#include <sys/uio.h>              // writev()
#include <time.h>                 // clock_gettime()
#include <unistd.h>               // write()
#ifdef __x86_64__
#  include <cpuid.h>
#  include <x86intrin.h>          // __rdtsc()
#endif

refmap_log_t *_PyRefMap_logs;

#define CHUNK_HEADER 16
#define SECOND UINT64_C(1000000000)
/* ns that an event may be in memory only. */
#define REFMAP_LOG_DELAY UINT64_C(20000000)


/* --- clocks ------------------------------------------------------------------------ */

static uint64_t
refmap_clock(clockid_t id)
{
    struct timespec now;
    (void)clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* Ticks are of some nanoseconds, so that what lies between two events mostly fits into a
   byte. */
#define TICK_BITS 4

#ifdef __x86_64__
static int is_tsc_steady;       // the same rate on all CPUs, at all times

/* See Intel's manual, volume 3, "Invariant TSC". */
static int
refmap_has_steady_tsc(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1 << 8);
}
#endif

uint64_t
_PyRefMap_Ticks(void)
{
#ifdef __x86_64__
    // A third of what clock_gettime() takes.
    if (is_tsc_steady) {
        return __rdtsc() >> TICK_BITS;
    }
#endif
    return refmap_clock(CLOCK_MONOTONIC) >> TICK_BITS;
}

/* Ticks of a second. */
static uint64_t tick_rate = SECOND >> TICK_BITS;

/* Measure the rate, to about one percent: it is for delays only. */
static void
refmap_start_clock(void)
{
#ifdef __x86_64__
    static int is_started;
    if (!is_started && refmap_has_steady_tsc()) {
        is_tsc_steady = 1;
        uint64_t ns = refmap_clock(CLOCK_MONOTONIC), ticks = _PyRefMap_Ticks();
        uint64_t now = ns;
        while (now - ns < SECOND / 10000) {
            now = refmap_clock(CLOCK_MONOTONIC);
        }
        tick_rate = (_PyRefMap_Ticks() - ticks) * SECOND / (now - ns);
    }
    is_started = 1;
#endif
}

uint64_t
_PyRefMap_TicksOf(uint64_t ns)
{
    // Without an overflow for years, and with no fraction of a tick.
    return ns / 1000 * (tick_rate / 1000) / 1000;
}

/* The second number of /proc/self/statm; see proc_pid_statm(5). */
int64_t
_PyRefMap_ResidentPages(refmap_log_t *log)
{
    char text[64];
    ssize_t n = log->rss_fd < 0 ? -1
                : pread(log->rss_fd, text, sizeof(text) - 1, 0);
    if (n <= 0) {
        return -1;
    }
    text[n] = '\0';
    const char *space = strchr(text, ' ');
    return space != NULL ? strtoll(space, NULL, 10) : -1;
}


/* --- writing ------------------------------------------------------------------------ */

/* Is the descriptor still that of the log? Programs close descriptors that they don't
   know, and get them for files of their own. */
static int
refmap_has_file(const refmap_log_t *log)
{
    struct stat now;
    return fstat(log->fd, &now) == 0 && now.st_dev == log->device
           && now.st_ino == log->inode;
}

/* Say once that a log ends, whatever became of sys.stderr. */
static void
refmap_say_failed(const refmap_log_t *log)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "refmap: the event log %.300s ends here, and "
                     "the program goes on: %s\n",
                     log->options.path, strerror(log->error));
    (void)!write(STDERR_FILENO, text, (size_t)Py_MIN(n, (int)sizeof(text) - 1));
}

static void
refmap_write(refmap_log_t *log, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0 && log->error == 0) {
        ssize_t n = write(log->fd, at, size);
        if (n < 0 && errno != EINTR) {
            log->error = errno;
            refmap_say_failed(log);
            return;
        }
        if (n > 0) {
            at += n;
            size -= (size_t)n;
            log->bytes += (uint64_t)n;
        }
    }
}

/* Open the file at the path of the log. */
static int
refmap_open_path(refmap_log_t *log)
{
    // A FIFO that nobody reads is an error, instead of that the program waits.
    log->fd = open(log->options.path,
                   O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0666);
    struct stat file;
    if (log->fd < 0 || fstat(log->fd, &file) < 0
        || fcntl(log->fd, F_SETFL, 0) < 0)
    {
        return -1;
    }
    log->device = file.st_dev;
    log->inode = file.st_ino;
    return 0;
}

static unsigned char *
refmap_put_word(unsigned char *p, uint32_t word)
{
    for (int i = 0; i < 4; i++) {
        *p++ = (unsigned char)(word >> 8 * i);
    }
    return p;
}

/* What a chunk of so many bytes of records of a stream begins with. */
static void
refmap_put_front(unsigned char *p, uint32_t stream, size_t size)
{
    memcpy(p, "RMCK", 4);
    p = refmap_put_word(p + 4, (uint32_t)size);
    p = refmap_put_word(p, stream);
    (void)refmap_put_word(p, 0);
}

/* What all clocks show. */
static unsigned char *
refmap_put_sync(unsigned char *p)
{
    *p++ = REFMAP_LOG_SYNC;
    p = refmap_put(p, _PyRefMap_Ticks());
    p = refmap_put(p, refmap_clock(CLOCK_MONOTONIC));
    return refmap_put(p, refmap_clock(CLOCK_REALTIME));
}

/* A chunk with nothing but a SYNC: with that of the first events it tells how long a tick
   is. */
static void
refmap_write_sync(refmap_log_t *log)
{
    unsigned char chunk[REFMAP_LOG_FRONT], *end = refmap_put_sync(chunk + CHUNK_HEADER);
    refmap_put_front(chunk, 0, (size_t)(end - chunk) - CHUNK_HEADER);
    refmap_write(log, chunk, (size_t)(end - chunk));
}

int
_PyRefMap_OpenLogFile(refmap_log_t *log)
{
    refmap_start_clock();
    if (refmap_open_path(log) < 0) {
        return -1;
    }
    if (log->options.rss_age >= 0) {
        // Of the process that opens it.
        log->rss_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    }
    unsigned char start[12] = "refmapL1";
    (void)refmap_put_word(start + 8, (uint32_t)log->options.header_size);
    refmap_write(log, start, sizeof(start));
    refmap_write(log, log->options.header, log->options.header_size);
    refmap_write_sync(log);
    return 0;
}

void
_PyRefMap_CloseLogFile(refmap_log_t *log)
{
    if (log->fd >= 0 && refmap_has_file(log) && close(log->fd) < 0
        && log->error == 0)
    {
        log->error = errno;
    }
    if (log->rss_fd >= 0) {
        (void)close(log->rss_fd);
    }
    log->fd = log->rss_fd = -1;
}

/* Fill in what stands in front of the records, and return where it begins. */
static unsigned char *
refmap_begin_chunk(refmap_stream_t *stream)
{
    unsigned char sync[REFMAP_LOG_FRONT - CHUNK_HEADER];
    size_t n = (size_t)(refmap_put_sync(sync) - sync);
    unsigned char *records = stream->buffer + REFMAP_LOG_FRONT - n;
    memcpy(records, sync, n);
    unsigned char *start = records - CHUNK_HEADER;
    refmap_put_front(start, stream->number, n + stream->used - REFMAP_LOG_FRONT);
    return start;
}

/* The first record of a child's log, a chunk of its own. */
static void
refmap_write_fork(const refmap_stream_t *stream)
{
    refmap_log_t *log = stream->log;
    unsigned char record[REFMAP_LOG_EVENT], front[CHUNK_HEADER], *p = record;
    size_t size = strlen(log->parent_path);
    *p++ = REFMAP_LOG_FORK;
    p = refmap_put(p, (uint64_t)log->parent);
    p = refmap_put(p, (uint64_t)log->pid);
    p = refmap_put(p, size);
    size_t n = (size_t)(p - record);
    refmap_put_front(front, stream->number, n + size);
    refmap_write(log, front, sizeof(front));
    refmap_write(log, record, n);
    refmap_write(log, log->parent_path, size);
}

/* A child's log is made when it has something to say: it may be about to exec(). */
static void
refmap_open_late(const refmap_stream_t *stream)
{
    refmap_log_t *log = stream->log;
    if (_PyRefMap_OpenLogFile(log) < 0) {
        log->error = errno;
        refmap_say_failed(log);
    }
    else {
        refmap_write_fork(stream);
    }
}

void
_PyRefMap_WriteStream(refmap_stream_t *stream)
{
    refmap_log_t *log = stream->log;
    int saved_errno = errno;
    if (log->pid != getpid()) {
        // The child of a fork() that Python does not know of: the file is not its own.
        stream->used = REFMAP_LOG_FRONT;
        return;
    }
    if (log->fd >= 0 && log->error == 0 && !refmap_has_file(log)) {
        log->error = EBADF;
        refmap_say_failed(log);
    }
    if (log->fd < 0 && log->error == 0 && stream->used > REFMAP_LOG_FRONT) {
        refmap_open_late(stream);
    }
    if (log->error == 0 && stream->used > REFMAP_LOG_FRONT) {
        unsigned char *start = refmap_begin_chunk(stream);
        size_t used = stream->used;
        // A fatal signal in here must not write it once more.
        stream->used = REFMAP_LOG_FRONT;
        refmap_write(log, start, (size_t)(stream->buffer + used - start));
    }
    stream->used = REFMAP_LOG_FRONT;
    stream->flush_at = _PyRefMap_Ticks() + _PyRefMap_TicksOf(REFMAP_LOG_DELAY);
    errno = saved_errno;
}

#endif  // Py_REFCOUNT_MAP
