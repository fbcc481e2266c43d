# Threads that check blocks beside the loop.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.integrity cimport Integrity
from iovigil.engines.io_u cimport io_u

cdef extern from *:
    """
    #ifndef IOVIGIL_HANDOVER
    #define IOVIGIL_HANDOVER
    #include <pthread.h>
    #include <stdint.h>
    #include <time.h>

    /* Two rings under one lock: what is to be checked, and what has been. Each has room for every I/O there is. */
    struct iovigil_handover {
        pthread_mutex_t lock;
        pthread_cond_t given, done;
        uint32_t size, give_at, work_at, done_at, take_at, is_closed;
        void **work, **finished;
    };

    static inline void iovigil_handover_init(struct iovigil_handover *self, uint32_t size, void **work,
                                             void **finished) {
        pthread_condattr_t monotonic;
        pthread_mutex_init(&self->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&self->given, NULL);
        pthread_cond_init(&self->done, &monotonic);
        pthread_condattr_destroy(&monotonic);
        self->size = size;
        self->give_at = self->work_at = self->done_at = self->take_at = self->is_closed = 0;
        self->work = work;
        self->finished = finished;
    }

    static inline void iovigil_handover_give(struct iovigil_handover *self, void *io) {
        pthread_mutex_lock(&self->lock);
        self->work[self->give_at++ % self->size] = io;
        pthread_cond_signal(&self->given);
        pthread_mutex_unlock(&self->lock);
    }

    /* For a worker: the next to check; NULL when there will be no more. */
    static inline void *iovigil_handover_next(struct iovigil_handover *self) {
        void *io = NULL;
        pthread_mutex_lock(&self->lock);
        while (self->work_at == self->give_at && !self->is_closed)
            pthread_cond_wait(&self->given, &self->lock);
        if (self->work_at != self->give_at) io = self->work[self->work_at++ % self->size];
        pthread_mutex_unlock(&self->lock);
        return io;
    }

    static inline void iovigil_handover_finish(struct iovigil_handover *self, void *io) {
        pthread_mutex_lock(&self->lock);
        self->finished[self->done_at++ % self->size] = io;
        pthread_cond_signal(&self->done);
        pthread_mutex_unlock(&self->lock);
    }

    /* One that has been checked; NULL when there is none after so long. */
    static inline void *iovigil_handover_take(struct iovigil_handover *self, uint64_t wait_ns) {
        void *io = NULL;
        struct timespec until;
        pthread_mutex_lock(&self->lock);
        if (self->take_at == self->done_at && wait_ns) {
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_nsec += (long)(wait_ns % 1000000000u);
            until.tv_sec += (time_t)(wait_ns / 1000000000u) + until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            pthread_cond_timedwait(&self->done, &self->lock, &until);
        }
        if (self->take_at != self->done_at) io = self->finished[self->take_at++ % self->size];
        pthread_mutex_unlock(&self->lock);
        return io;
    }

    static inline void iovigil_handover_close(struct iovigil_handover *self) {
        pthread_mutex_lock(&self->lock);
        self->is_closed = 1;
        pthread_cond_broadcast(&self->given);
        pthread_mutex_unlock(&self->lock);
    }
    #endif
    """
    struct handover "iovigil_handover":
        pass
    ctypedef struct pthread_t:
        pass


cdef struct checker:
    handover *between
    char *scratch  # a block of its own
    void *integrity  # Integrity, which outlives the threads


cdef class Checkers:
    cdef handover between
    cdef uint32_t count
    cdef pthread_t *threads
    cdef checker *checkers
    cdef void **rings
    cdef Integrity integrity

    cdef void give(self, io_u *io) noexcept nogil
    cdef io_u *take(self, uint64_t wait_ns, bint *is_wrong) noexcept nogil
