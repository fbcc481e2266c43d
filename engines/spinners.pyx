"""Threads that work on every CPU at the lowest priority: how much they get done is how idle the CPU was."""
# distutils: libraries = pthread

import os
from collections import namedtuple

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from posix.time cimport clock_gettime, timespec

from iovigil.engines.clock cimport monotonic_ns
from iovigil.engines.latency cimport slot_add, slot_get, slot_set

cdef extern from "<pthread.h>" nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sched.h>
    """
    ctypedef unsigned long pthread_t
    ctypedef struct cpu_set_t:
        pass
    cdef struct sched_param:
        int sched_priority
    ctypedef struct pthread_attr_t:
        pass
    int SCHED_IDLE
    cpu_set_t *CPU_ALLOC(int count)
    void CPU_FREE(cpu_set_t *cpus)
    size_t CPU_ALLOC_SIZE(int count)
    void CPU_ZERO_S(size_t size, cpu_set_t *cpus)
    void CPU_SET_S(int cpu, size_t size, cpu_set_t *cpus)
    int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *) noexcept nogil,
                       void *argument)
    int pthread_join(pthread_t thread, void **answer)
    int sched_setaffinity(int pid, size_t size, const cpu_set_t *cpus)
    int sched_setscheduler(int pid, int policy, const sched_param *parameters)

cdef extern from "<time.h>" nogil:
    int CLOCK_THREAD_CPUTIME_ID
    int nanosleep(const timespec *time, timespec *rest)

cdef extern from "<errno.h>" nogil:
    int errno

cdef extern from * nogil:
    """
    /* One unit of work: every word of a page, some times over, in order, as no optimiser may leave out. */
    static inline void iovigil_touch(volatile unsigned long *page) {
        int round, word;
        for (round = 0; round < 8; round++)
            for (word = 0; word < 512; word++)
                page[word] += (unsigned long)(round + word);
    }
    """
    void touch "iovigil_touch" (unsigned long *page) noexcept

Share = namedtuple("Share", "cpu idle unit_us")

cdef enum:
    WORDS = 512  # a page
    BATCH = 64
    BATCHES = 24

cdef enum Phase:
    CALIBRATING
    WAITING
    WORKING
    OVER

cdef struct spinner:
    pthread_t thread
    int cpu
    int error
    uint64_t phase  # of Phase: written by the thread up to WAITING, by the owner from then on
    uint64_t units
    double unit_ns
    unsigned long page[WORDS]
    uint64_t gap[16]  # two CPUs must not write to one cache line


cdef uint64_t cpu_time_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef int pin(int cpu) noexcept nogil:
    """Run on this CPU alone; 0 or an errno."""
    cdef size_t size = CPU_ALLOC_SIZE(cpu + 1)
    cdef cpu_set_t *cpus = CPU_ALLOC(cpu + 1)
    cdef int answer
    if cpus == NULL:
        return 12
    CPU_ZERO_S(size, cpus)
    CPU_SET_S(cpu, size, cpus)
    answer = errno if sched_setaffinity(0, size, cpus) else 0
    CPU_FREE(cpus)
    return answer


cdef void calibrate(spinner *self) noexcept nogil:
    """Find the time of one unit: the best of some batches, in this thread's CPU time, so that others do not count."""
    cdef uint64_t began, took, best = <uint64_t>-1
    cdef int _batch, _unit
    for _batch in range(BATCHES):
        began = cpu_time_ns()
        for _unit in range(BATCH):
            touch(self.page)
        took = cpu_time_ns() - began
        if took < best:
            best = took
    self.unit_ns = <double>best / BATCH


cdef void *spin(void *argument) noexcept nogil:
    cdef spinner *self = <spinner *>argument
    cdef sched_param parameters
    self.error = pin(self.cpu)
    if not self.error:
        calibrate(self)
        parameters.sched_priority = 0
        if sched_setscheduler(0, SCHED_IDLE, &parameters):
            self.error = errno
    slot_set(&self.phase, <uint64_t>WAITING)
    while slot_get(&self.phase) == <uint64_t>WAITING:
        nap()
    while slot_get(&self.phase) == <uint64_t>WORKING:
        touch(self.page)
        slot_add(&self.units, 1)
    return NULL


cdef void nap() noexcept nogil:
    cdef timespec time
    time.tv_sec = 0
    time.tv_nsec = 200000
    nanosleep(&time, NULL)


cdef class Spinners:
    """A thread on each CPU that works where nobody else does; they end with this object."""

    cdef spinner *spinners
    cdef int count
    cdef uint64_t begun_ns

    def __cinit__(self, cpus):
        """Start the threads and find out how long their unit of work takes. Raises OSError."""
        cdef int error
        self.spinners = <spinner *>calloc(max(len(cpus), 1), sizeof(spinner))
        if self.spinners == NULL:
            raise MemoryError
        for cpu in cpus:
            self.spinners[self.count].cpu = cpu
            error = pthread_create(&self.spinners[self.count].thread, NULL, spin, &self.spinners[self.count])
            if error:
                self.stop()
                raise OSError(error, os.strerror(error), f"a thread on CPU {cpu}")
            self.count += 1
        with nogil:
            while not self.are_ready():
                nap()
        for index in range(self.count):
            error = self.spinners[index].error
            if error:
                cpu = self.spinners[index].cpu
                self.stop()
                raise OSError(error, os.strerror(error), f"a thread on CPU {cpu}")

    def __dealloc__(self):
        self.stop()
        free(self.spinners)

    cdef bint are_ready(self) noexcept nogil:
        cdef int index
        for index in range(self.count):
            if slot_get(&self.spinners[index].phase) == <uint64_t>CALIBRATING:
                return False
        return True

    cdef void stop(self) noexcept:
        """End the threads and wait for them."""
        cdef int index
        with nogil:
            # One that still calibrates would overwrite what it is told.
            while not self.are_ready():
                nap()
            for index in range(self.count):
                slot_set(&self.spinners[index].phase, <uint64_t>OVER)
            for index in range(self.count):
                pthread_join(self.spinners[index].thread, NULL)
        self.count = 0

    def begin(self):
        """Work from now on, at the lowest priority there is."""
        cdef int index
        self.begun_ns = monotonic_ns()
        for index in range(self.count):
            slot_set(&self.spinners[index].phase, <uint64_t>WORKING)

    def end(self):
        """Let the threads end, and tell what each found since `begin`; does not wait for them."""
        cdef uint64_t elapsed_ns = monotonic_ns() - self.begun_ns
        cdef int index
        shares = [
            Share(self.spinners[index].cpu,
                  min(slot_get(&self.spinners[index].units) * self.spinners[index].unit_ns / elapsed_ns, 1.0),
                  self.spinners[index].unit_ns / 1e3)
            for index in range(self.count)
        ] if self.begun_ns and elapsed_ns else []
        for index in range(self.count):
            slot_set(&self.spinners[index].phase, <uint64_t>OVER)
        return shares

    @property
    def unit_us(self):
        return [self.spinners[index].unit_ns / 1e3 for index in range(self.count)]
