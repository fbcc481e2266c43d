# Records the I/O of a job as an iolog of version 3, which fio and we can replay.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from iovigil.engines.io_u cimport SYNC_RANGE, io_u
from iovigil.engines.log_file cimport log_file


cdef class Recorder:
    cdef log_file file
    cdef str path
    cdef bytes text  # " name " of each file, one after the other
    cdef const char *names
    cdef uint64_t *starts  # of each in it; behind the last, its end
    cdef uint64_t begun_ns
    cdef readonly list notes
    cdef list files

    cdef void start(self, uint64_t now_ns) noexcept nogil
    cdef bint note(self, const io_u *io, uint64_t now_ns) noexcept nogil
    cdef write_out(self, uint64_t now_ns)
