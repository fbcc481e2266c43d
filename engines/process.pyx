"""The child as a process: whom it dies with, what it may use, how it is told to stop."""

import os

from libc.errno cimport errno
from libc.signal cimport SIG_IGN, SIGKILL, SIGTERM
from libc.stdint cimport uint64_t
from posix.resource cimport RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, rlimit, setrlimit
from posix.signal cimport sigaction, sigaction_t

from iovigil.engines.latency cimport slot_set
from iovigil.engines.stats cimport StatsPage

cdef extern from "<signal.h>" nogil:
    int SIGXFSZ

cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_PDEATHSIG
    int PR_SET_TIMERSLACK
    int prctl(int option, unsigned long argument, ...)

cdef uint64_t *stop_word = NULL


cdef void on_sigterm(int signum) noexcept nogil:
    slot_set(stop_word, 1)


cpdef die_with_parent(int parent_pid):
    """Have the kernel kill this process as soon as its parent is gone, however that ends. Survives exec."""
    prctl(PR_SET_PDEATHSIG, <unsigned long>SIGKILL)
    # The parent may have died before the call above could see it.
    if os.getppid() != parent_pid:
        os._exit(128 + SIGKILL)


cpdef limit(unsigned long long memory_bytes, unsigned long long cpu_s):
    """Cap address space and CPU time (0: no cap), and write no core file: it would hold a disk's contents."""
    cdef rlimit cap
    for resource, value, is_set in ((RLIMIT_CORE, 0, True), (RLIMIT_AS, memory_bytes, memory_bytes > 0),
                                    (RLIMIT_CPU, cpu_s, cpu_s > 0)):
        cap.rlim_cur = cap.rlim_max = value
        if is_set and setrlimit(resource, &cap):
            raise OSError(errno, os.strerror(errno), "setrlimit")
    # The default slack of 50 us would be the error of every paced I/O.
    prctl(PR_SET_TIMERSLACK, 1ul)


cpdef stop_on_sigterm(StatsPage stats):
    """Let SIGTERM set the page's stop word, and interrupt what waits, also where no Python code runs."""
    global stop_word
    cdef sigaction_t action
    stop_word = &stats.page.stop
    action.sa_handler = on_sigterm
    action.sa_flags = 0  # no SA_RESTART: a wait has to come back with EINTR
    if sigaction(SIGTERM, &action, NULL):
        raise OSError(errno, os.strerror(errno), "sigaction")
    action.sa_handler = SIG_IGN  # a write past RLIMIT_FSIZE is an error of that I/O
    sigaction(SIGXFSZ, &action, NULL)
