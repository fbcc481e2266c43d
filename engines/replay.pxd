# A recorded log as the job's workload: what comes next, and when it is due.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef struct replay_step:
    uint64_t due_ns  # when it is to start; now or before
    uint64_t offset
    uint32_t length  # 0 of a sync
    uint16_t file  # index in the job's files
    uint8_t ddir  # READ, WRITE, TRIM, SYNC or DATASYNC


cdef struct recorded:
    uint64_t due_us
    uint64_t offset
    uint32_t length
    uint16_t file
    uint8_t ddir


cdef class Replay:
    cdef recorded *steps
    cdef uint64_t room
    cdef readonly uint64_t count
    cdef readonly uint64_t total_bytes
    cdef readonly uint32_t longest
    cdef readonly uint32_t shortest
    cdef readonly bint does_read
    cdef readonly bint does_write
    cdef readonly bint does_trim
    cdef bint is_timed
    cdef double ns_per_us  # replay_time_scale
    cdef uint64_t position
    cdef uint64_t begun_ns

    cdef int append(self, uint64_t due_us, uint16_t file, uint8_t ddir, uint64_t offset, uint32_t length) except -1
    cdef void rewind(self, uint64_t now_ns) noexcept nogil
    cdef bint is_over(self) noexcept nogil
    cdef bint next(self, uint64_t now_ns, replay_step *step, uint64_t *wake_ns) noexcept nogil
