"""verify_async: threads that check blocks beside the loop.

The loop hands a block over and takes it back with one word: good or not. A bad one it judges again by itself, so
that the page keeps its one writer.
"""

import os

from libc.errno cimport EILSEQ
from libc.stdlib cimport calloc, free

from iovigil.engines.io_u cimport io_u

from iovigil.engines.setup_error import SetupError

cdef extern from *:
    void handover_init "iovigil_handover_init" (handover *self, uint32_t size, void **work, void **finished) noexcept
    void handover_give "iovigil_handover_give" (handover *self, void *io) noexcept nogil
    void *handover_next "iovigil_handover_next" (handover *self) noexcept nogil
    void handover_finish "iovigil_handover_finish" (handover *self, void *io) noexcept nogil
    void *handover_take "iovigil_handover_take" (handover *self, uint64_t wait_ns) noexcept nogil
    void handover_close "iovigil_handover_close" (handover *self) noexcept nogil

cdef extern from "<sched.h>" nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    """
    ctypedef struct cpu_set_t:
        pass
    void CPU_ZERO(cpu_set_t *mask)
    void CPU_SET(int cpu, cpu_set_t *mask)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_attr_t:
        pass
    int pthread_attr_init(pthread_attr_t *attributes)
    int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size)
    int pthread_attr_destroy(pthread_attr_t *attributes)
    int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *) noexcept nogil,
                       void *argument)
    int pthread_join(pthread_t thread, void **value)
    int pthread_setaffinity_np(pthread_t thread, size_t size, const cpu_set_t *mask)


cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int SIG_BLOCK
    int sigfillset(sigset_t *set)
    int pthread_sigmask(int how, const sigset_t *set, sigset_t *before)

cdef enum:
    STACK_BYTES = 256 << 10  # of a thread: by default it would count with 8 MiB against the limit on memory


cdef void *check_all(void *argument) noexcept nogil:
    """The life of one thread."""
    cdef checker *self = <checker *>argument
    cdef sigset_t signals
    # A signal has to interrupt the loop's system call, not this.
    sigfillset(&signals)
    pthread_sigmask(SIG_BLOCK, &signals, NULL)
    cdef io_u *io = <io_u *>handover_next(self.between)
    while io != NULL:
        io.result = 0 if (<Integrity>self.integrity).is_good(io, self.scratch) else -EILSEQ
        handover_finish(self.between, io)
        io = <io_u *>handover_next(self.between)
    return NULL


cdef class Checkers:
    """`count` threads for the blocks of one job, of which `slots` may be with them."""

    def __cinit__(self, Integrity integrity not None, uint32_t count, uint32_t slots, uint64_t max_bs, cpus):
        """Raises MemoryError, and SetupError when the system gives no thread or has no such CPU."""
        cdef uint32_t index
        cdef int error
        cdef cpu_set_t mask
        cdef pthread_attr_t attributes
        self.integrity = integrity
        self.rings = <void **>calloc(2 * slots, sizeof(void *))
        self.threads = <pthread_t *>calloc(count, sizeof(pthread_t))
        self.checkers = <checker *>calloc(count, sizeof(checker))
        if self.rings == NULL or self.threads == NULL or self.checkers == NULL:
            raise MemoryError
        handover_init(&self.between, slots, self.rings, self.rings + slots)
        CPU_ZERO(&mask)
        for cpu in cpus:
            CPU_SET(cpu, &mask)
        for index in range(count):
            self.checkers[index] = checker(&self.between, <char *>calloc(1, max_bs), <void *>integrity)
            if self.checkers[index].scratch == NULL:
                raise MemoryError
            pthread_attr_init(&attributes)
            pthread_attr_setstacksize(&attributes, STACK_BYTES)
            error = pthread_create(&self.threads[index], &attributes, check_all, &self.checkers[index])
            pthread_attr_destroy(&attributes)
            if error:
                raise SetupError(f"verify_async: {count} threads are not to be had: {os.strerror(error)}")
            self.count += 1
            error = pthread_setaffinity_np(self.threads[index], sizeof(mask), &mask) if cpus else 0
            if error:
                raise SetupError(f"verify_async_cpus: {', '.join(map(str, sorted(cpus)))}: this machine has not all of "
                                 f"them ({os.strerror(error)})")

    def __dealloc__(self):
        cdef uint32_t index
        if self.rings != NULL:
            with nogil:
                handover_close(&self.between)
                for index in range(self.count):
                    pthread_join(self.threads[index], NULL)
        for index in range(self.count):
            free(self.checkers[index].scratch)
        free(self.checkers)
        free(self.threads)
        free(self.rings)

    cdef void give(self, io_u *io) noexcept nogil:
        """Have a block checked; its buffer is the thread's until `take` returns it."""
        handover_give(&self.between, io)

    cdef io_u *take(self, uint64_t wait_ns, bint *is_wrong) noexcept nogil:
        """A block that has been checked, after at most `wait_ns`; NULL when there is none."""
        cdef io_u *io = <io_u *>handover_take(&self.between, wait_ns)
        if io != NULL:
            is_wrong[0] = io.result != 0
        return io
