"""The log of completion latency histograms: at every interval, what was added to each bucket."""

from iovigil.engines.latency cimport slot_get
from iovigil.engines.log_file cimport (
    NUMBER_BYTES, log_file_close, log_file_end, log_file_line, log_file_note, log_file_open, put_number, put_text,
)
from iovigil.engines.stats cimport Latency

from iovigil.engines.sample_log import log_path

cdef enum:
    LINE_BYTES = (BUCKET_COUNT + 3) * (NUMBER_BYTES + 2)


cdef class HistogramLog:
    """Lines of `time_ms, ddir, bs, bucket 0, bucket 1, ...`, each the difference to the one before.

    bs is that of the last I/O. log_hist_coarseness merges 2^N buckets into a column. The sum of all lines is the
    histogram of the whole run.
    """

    def __cinit__(self):
        self.file.fd = -1

    def __init__(self, options, number):
        """Opens the file; raises OSError or MemoryError."""
        self.interval_ns = 1000 * options["log_hist_msec"]
        self.merged = 1 << options["log_hist_coarseness"]
        measured = not options["disable_clat"] and not options["gtod_reduce"]
        self.is_wanted = bool(options["write_hist_log"]) and measured
        self.path = log_path(options["write_hist_log"], "clat_hist", number, options["per_job_logs"])
        if self.is_wanted:
            log_file_open(&self.file, self.path, not options["per_job_logs"])

    def __dealloc__(self):
        log_file_close(&self.file)

    cdef void start(self, uint64_t epoch_ns, uint64_t unix_ns) noexcept nogil:
        """Measuring begins at `epoch_ns`, which the log calls `unix_ns`."""
        self.epoch_ns = epoch_ns
        self.unix_ns = unix_ns
        self.due_ns = epoch_ns + self.interval_ns

    cdef uint64_t look(self, const stats_page *page, uint64_t now_ns) noexcept nogil:
        """Write the lines that are due; returns when the next will be, 0 for never."""
        if not self.is_wanted or not self.interval_ns or not self.due_ns:
            return 0
        if now_ns >= self.due_ns:
            self.lines(page, now_ns)
            self.due_ns += ((now_ns - self.due_ns) // self.interval_ns + 1) * self.interval_ns
        return self.due_ns

    cdef void lines(self, const stats_page *page, uint64_t now_ns) noexcept nogil:
        """One line for each direction that did something."""
        cdef uint64_t added, value, total
        cdef uint32_t index
        cdef int ddir
        cdef char *at
        for ddir in range(3):
            at = log_file_line(&self.file, LINE_BYTES)
            at = put_number(at, (self.unix_ns + (now_ns - self.epoch_ns if now_ns > self.epoch_ns else 0)) // 1000000)
            at = put_number(put_text(at, b", ", 2), <uint64_t>ddir)
            at = put_number(put_text(at, b", ", 2), self.length[ddir])
            added = total = 0
            for index in range(<uint32_t>BUCKET_COUNT):
                value = slot_get(&page.latency[<int>Latency.CLAT][ddir].bucket[index])
                added += value - self.seen[ddir][index]
                self.seen[ddir][index] = value
                if (index + 1) % self.merged == 0:
                    at = put_number(put_text(at, b", ", 2), added)
                    total += added
                    added = 0
            if total:
                log_file_end(&self.file, put_text(at, b"\n", 1))

    cdef finish(self, const stats_page *page, uint64_t now_ns):
        """Write what is left and close the file; returns what people should know of it."""
        if self.file.fd < 0:
            return []
        if self.interval_ns and page != NULL:
            self.lines(page, now_ns)
        log_file_close(&self.file)
        note = log_file_note(&self.file, self.path)
        return [] if note is None else [note]
