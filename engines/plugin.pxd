# What an I/O engine written in Python stands on.

from libc.stdint cimport int64_t, uint32_t

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport io_u


cdef class Request:
    cdef io_u *io
    cdef PythonEngine engine
    cdef object view  # of the buffer; None until asked for
    cdef char *viewed  # what it shows
    cdef uint32_t viewed_length
    cdef uint32_t viewed_ddir
    cdef bint is_in_flight
    cdef public object result


cdef class PythonEngine(IoEngine):
    cdef list requests  # by index of the I/O
    cdef list finished  # handed over, and not yet asked for
    cdef object submit_method
    cdef bint is_set_up
    cdef set faults_told
    cdef uint32_t in_flight

    cdef int64_t ask(self, io_u *io)
    cdef int gather(self, uint32_t wanted, uint32_t most, object timeout_s) except? -1
    cdef int64_t checked(self, object result, io_u *io, str method)
    cdef int64_t failure(self, object error, str method)
    cdef int64_t fault(self, str text, str method)
