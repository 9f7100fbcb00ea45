/* Reading memory that may be gone. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"

#include <errno.h>
#include <limits.h>               // PIPE_BUF
#include <unistd.h>               // pipe()
#ifdef __linux__
#  include <sys/uio.h>            // process_vm_readv()
#endif

/* A pipe tells, too, what can be read: write(2) fails with EFAULT. Opened anew
   each time, as one that is kept would be shared with forked children. */
static int
refmap_read_by_pipe(uintptr_t address, void *buffer, size_t size)
{
    int fds[2], result = -1;
    // So much always fits into an empty pipe; see pipe(7).
    if (size > PIPE_BUF + (size_t)8 || pipe(fds) < 0) {
        return -1;
    }
    if (write(fds[1], (const void *)address, size) == (ssize_t)size
        && read(fds[0], buffer, size) == (ssize_t)size)
    {
        result = 0;
    }
    close(fds[0]);
    close(fds[1]);
    return result;
}

int
_PyRefMap_Read(uintptr_t address, void *buffer, size_t size)
{
#ifdef __linux__
    // The kernel copies, and says so when it can't; see process_vm_readv(2).
    // A sandbox may forbid the call itself.
    struct iovec local = {buffer, size};
    struct iovec remote = {(void *)address, size};
    ssize_t n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) {
        return n == (ssize_t)size ? 0 : -1;
    }
#endif
    return refmap_read_by_pipe(address, buffer, size);
}

void
_PyRefMap_ReadPage(const refmap_block_t *block, refmap_copy_t *copy)
{
    uintptr_t address = block->page << REFMAP_PAGE_BITS;
    size_t size = REFMAP_PAGE_SIZE;
    copy->readable = _PyRefMap_Read(address, copy->bytes, size) == 0;
    // Only an object that starts 8 bytes before the end needs the next page.
    if (!refmap_get(block, REFMAP_SLOTS - 1).is_odd
        || _PyRefMap_Read(address + size, copy->bytes + size, 8) < 0)
    {
        memset(copy->bytes + size, 0, 8);
    }
}

uintptr_t
_PyRefMap_CopiedWord(const refmap_copy_t *copy, const refmap_block_t *block,
                     uintptr_t address)
{
    uintptr_t word;
    memcpy(&word, copy->bytes + (address - (block->page << REFMAP_PAGE_BITS)),
           sizeof(word));
    return word;
}

#endif  // Py_REFCOUNT_MAP
