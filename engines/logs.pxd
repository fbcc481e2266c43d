# All the logs that one job writes, as its loop sees them.

from libc.stdint cimport uint64_t

from iovigil.engines.histogram_log cimport HistogramLog
from iovigil.engines.io_u cimport TRIM, io_u
from iovigil.engines.sample_log cimport SampleLog
from iovigil.engines.stats cimport stats_page


cdef class Logs:
    cdef SampleLog samples
    cdef HistogramLog histograms
    cdef readonly bint is_wanted
    cdef readonly list notes

    cdef void start(self, uint64_t epoch_ns) noexcept nogil
    cdef uint64_t look(self, const stats_page *page, uint64_t now_ns) noexcept nogil
    cdef write_out(self, const stats_page *page, uint64_t now_ns)

    cdef inline bint note(self, const io_u *io, uint64_t now_ns) noexcept nogil:
        """Log an I/O that completed now. True: that took so long that `now_ns` is no longer now."""
        if io.ddir > TRIM:
            return False
        self.histograms.length[io.ddir] = io.block_length
        if not self.samples.is_wanted:
            return False
        return self.samples.note(io.ddir, io.offset, io.block_length, io.start_ns, io.issued_ns, now_ns)
