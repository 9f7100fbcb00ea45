/* What is to be done when a fatal signal ends the process: Python can't run any more
   then, and what is only in memory is lost. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"
#include "pycore_refmap_query.h"  // _PyRefMap_OnFatalSignal()

#include <errno.h>
#include <signal.h>
#include <string.h>

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
#define NSIGNALS Py_ARRAY_LENGTH(signals)

/* Changed with a GIL held. The handler only reads it. */
static void (*what_to_do[REFMAP_FATAL_WHOS])(void);
static struct sigaction before[NSIGNALS];
static int is_dying;

/* The kernel fills 64 bits of a mask. The C library copies the rest of it from its stack,
   as it is, where addresses of objects lie: in a static variable they would be taken for
   references (owners.c). */
static void
refmap_keep_handler(size_t i, const struct sigaction *handler)
{
    memset(&before[i], 0, sizeof(before[i]));
    before[i].sa_flags = handler->sa_flags;
    before[i].sa_handler = handler->sa_handler;     // or sa_sigaction, a union
    memcpy(&before[i].sa_mask, &handler->sa_mask, sizeof(uint64_t));
}

static void
refmap_restore_handlers(void)
{
    for (size_t i = 0; i < NSIGNALS; i++) {
        sigaction(signals[i], &before[i], NULL);
    }
}

/* Do it, and let the signal do what it would have done. */
static void
refmap_fatal_handler(int signum)
{
    int saved_errno = errno;
    if (__atomic_exchange_n(&is_dying, 1, __ATOMIC_ACQ_REL)) {
        // Done already, and a handler that came before us called us again.
        signal(signum, SIG_DFL);
    }
    else {
        refmap_restore_handlers();
        for (int i = 0; i < REFMAP_FATAL_WHOS; i++) {
            void (*action)(void) = what_to_do[i];
            if (action != NULL) {
                action();
            }
        }
    }
    errno = saved_errno;
    raise(signum);
}

static void
refmap_install_handlers(void)
{
    struct sigaction action = {.sa_handler = refmap_fatal_handler};
    is_dying = 0;
    // The stack may be what is used up. faulthandler has another one.
    action.sa_flags = SA_NODEFER | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < NSIGNALS; i++) {
        struct sigaction handler;
        if (sigaction(signals[i], &action, &handler) == 0) {
            refmap_keep_handler(i, &handler);
        }
    }
}

/* Take back only what is still ours: others may have come after us. */
static void
refmap_remove_handlers(void)
{
    for (size_t i = 0; i < NSIGNALS; i++) {
        struct sigaction now;
        if (sigaction(signals[i], NULL, &now) == 0
            && now.sa_handler == refmap_fatal_handler)
        {
            sigaction(signals[i], &before[i], NULL);
        }
    }
}

static int
refmap_has_to_act(void)
{
    for (int i = 0; i < REFMAP_FATAL_WHOS; i++) {
        if (what_to_do[i] != NULL) {
            return 1;
        }
    }
    return 0;
}

void
_PyRefMap_OnFatalSignal(int who, void (*action)(void))
{
    int had_to_act = refmap_has_to_act();
    what_to_do[who] = action;
    if (!had_to_act && action != NULL) {
        refmap_install_handlers();
    }
    if (had_to_act && !refmap_has_to_act()) {
        refmap_remove_handlers();
    }
}

#endif  // Py_REFCOUNT_MAP
