"""The child as a process: whom it dies with, what it may use. Imports next to nothing: it comes first."""

import os

from libc.errno cimport errno
from libc.signal cimport SIG_IGN, SIGKILL, signal
from posix.resource cimport RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_FSIZE, rlimit, setrlimit

cdef extern from "<signal.h>" nogil:
    int SIGXFSZ

cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_PDEATHSIG
    int PR_SET_TIMERSLACK
    int prctl(int option, unsigned long argument, ...)


def die_with_parent(int parent_pid):
    """Have the kernel kill this process as soon as its parent is gone, however that ends. Survives exec."""
    prctl(PR_SET_PDEATHSIG, <unsigned long>SIGKILL)
    # The parent may have died before the call above could see it.
    if os.getppid() != parent_pid:
        os._exit(128 + SIGKILL)


def limit(unsigned long long memory_bytes, unsigned long long cpu_s, unsigned long long file_bytes):
    """Cap address space, CPU time and the length of files written (0: no cap). No core file: it would hold data."""
    cdef rlimit cap
    for resource, value, is_set in ((RLIMIT_CORE, 0, True), (RLIMIT_AS, memory_bytes, memory_bytes > 0),
                                    (RLIMIT_CPU, cpu_s, cpu_s > 0), (RLIMIT_FSIZE, file_bytes, file_bytes > 0)):
        cap.rlim_cur = cap.rlim_max = value
        if is_set and setrlimit(resource, &cap):
            raise OSError(errno, os.strerror(errno), "setrlimit")
    signal(SIGXFSZ, SIG_IGN)  # a write past the cap is an error of that I/O
    # The default slack of 50 us would be the error of every paced I/O.
    prctl(PR_SET_TIMERSLACK, 1ul)
