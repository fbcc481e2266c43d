"""The child as a process: whom it dies with, what it may use, how the kernel treats it. Imports next to nothing."""

import os

from libc.errno cimport errno
from libc.signal cimport SIG_IGN, SIGKILL, signal
from libc.stdint cimport uint64_t
from libc.string cimport memset
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mlock, mmap, munmap
from posix.resource cimport RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_FSIZE, rlimit, setrlimit

cdef extern from "<signal.h>" nogil:
    int SIGXFSZ

cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_PDEATHSIG
    int PR_SET_TIMERSLACK
    int prctl(int option, unsigned long argument, ...)

cdef extern from "<sys/syscall.h>" nogil:
    long SYS_get_mempolicy
    long SYS_ioprio_get
    long SYS_ioprio_set
    long SYS_set_mempolicy

cdef extern from "<unistd.h>" nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    """
    long syscall(long number, ...)

cdef enum:
    IOPRIO_WHO_PROCESS = 1
    IOPRIO_CLASS_SHIFT = 13
    NODES = 1024  # the most that any kernel is built for
    NODES_PER_WORD = 64
    WORDS = 16  # of NODES


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


def set_io_priority(int prioclass, int prio):
    """Set this process's I/O priority: class 1 realtime, 2 best effort, 3 idle; 0 is the most urgent of its class."""
    if syscall(SYS_ioprio_set, <long>IOPRIO_WHO_PROCESS, 0l, <long>(prioclass << IOPRIO_CLASS_SHIFT | prio)):
        raise OSError(errno, os.strerror(errno), "ioprio_set")


def io_priority():
    """This process's I/O priority: (class, level in it)."""
    cdef long value = syscall(SYS_ioprio_get, <long>IOPRIO_WHO_PROCESS, 0l)
    if value < 0:
        raise OSError(errno, os.strerror(errno), "ioprio_get")
    return value >> IOPRIO_CLASS_SHIFT, value & ((1 << IOPRIO_CLASS_SHIFT) - 1)


def set_memory_policy(unsigned mode, nodes):
    """Take this process's memory by a policy of set_mempolicy(2) from these NUMA nodes."""
    cdef uint64_t mask[WORDS]
    cdef unsigned node
    memset(mask, 0, sizeof(mask))
    for node in nodes:
        if node >= NODES:
            raise ValueError(f"there is no NUMA node {node}")
        mask[node // NODES_PER_WORD] |= <uint64_t>1 << (node % NODES_PER_WORD)
    # The kernel counts one bit less than it is told.
    if syscall(SYS_set_mempolicy, <long>mode, <unsigned long>(&mask[0] if nodes else NULL), <unsigned long>(NODES + 1)):
        raise OSError(errno, os.strerror(errno), "set_mempolicy")


def memory_policy():
    """The policy that this process's memory is taken by: (mode, NUMA nodes)."""
    cdef uint64_t mask[WORDS]
    cdef int mode = 0
    cdef unsigned node
    memset(mask, 0, sizeof(mask))
    if syscall(SYS_get_mempolicy, <unsigned long>&mode, <unsigned long>&mask[0], <unsigned long>NODES + 1, 0ul, 0ul):
        raise OSError(errno, os.strerror(errno), "get_mempolicy")
    return mode, [node for node in range(NODES) if mask[node // NODES_PER_WORD] >> (node % NODES_PER_WORD) & 1]


def lock_memory(size_t length):
    """Take so many bytes of memory and hold them in RAM until this process ends."""
    cdef void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if memory == MAP_FAILED:
        raise OSError(errno, os.strerror(errno), "mmap")
    if mlock(memory, length):
        number = errno
        munmap(memory, length)
        raise OSError(number, os.strerror(number), "mlock")
