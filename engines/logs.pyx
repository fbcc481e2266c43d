"""All the logs that one job writes, as its loop sees them."""

from libc.string cimport memset

from iovigil.engines.sample_log cimport DEFAULT_CAPACITY
from iovigil.engines.stats cimport StatsPage


cdef class Logs:
    """What a job logs besides its results, by its options; the files lie in the current directory.

    `start` when measuring begins, `note` for each completion, `look` when it asked to be called, `write_out` at the
    end. Each of those has a form for Python, for tools and tests: begin, add, tick, finish.
    """

    def __init__(self, options, number, capacity=DEFAULT_CAPACITY):
        """Opens the files, so that a name which cannot be is known before the first I/O. Raises OSError, MemoryError.

        `options` is `JobOptions.native()`; `capacity` is how many I/Os are kept before lines are written in between.
        """
        self.notes = []
        self.samples = SampleLog(options, number, capacity)
        self.histograms = HistogramLog(options, number)
        self.is_wanted = self.samples.is_wanted or self.histograms.is_wanted

    cdef void start(self, uint64_t epoch_ns) noexcept nogil:
        self.samples.start(epoch_ns)
        self.histograms.start(epoch_ns, self.samples.unix_ns)

    cdef uint64_t look(self, const stats_page *page, uint64_t now_ns) noexcept nogil:
        """Close the windows and intervals that are over; returns when the next is, 0 for never."""
        cdef uint64_t window_ns = self.samples.look(now_ns), histogram_ns = self.histograms.look(page, now_ns)
        if not window_ns or not histogram_ns:
            return window_ns or histogram_ns
        return min(window_ns, histogram_ns)

    cdef write_out(self, const stats_page *page, uint64_t now_ns):
        """Write everything and close the files; what went wrong stands in `notes`."""
        self.notes += self.samples.finish(now_ns) + self.histograms.finish(page, now_ns)

    def begin(self, uint64_t epoch_ns):
        self.start(epoch_ns)

    def add(self, int ddir, uint64_t offset, uint64_t length, uint64_t start_ns, uint64_t issued_ns,
            uint64_t completed_ns):
        cdef io_u io
        memset(&io, 0, sizeof(io))
        io.ddir = <unsigned char>ddir
        io.offset = offset
        io.length = io.block_length = <unsigned int>length
        io.start_ns = start_ns
        io.issued_ns = issued_ns
        return self.note(&io, completed_ns)

    def tick(self, StatsPage page not None, uint64_t now_ns):
        return self.look(page.page, now_ns)

    def finish(self, StatsPage page not None, uint64_t now_ns):
        self.write_out(page.page, now_ns)
