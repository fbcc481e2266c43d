"""The logs of throughput, I/O rate and latency: a line for each I/O, or for each window of time."""

import os

from libc.errno cimport errno as c_errno
from libc.string cimport memset
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from iovigil.engines.log_file cimport (
    NUMBER_BYTES, log_file_close, log_file_end, log_file_line, log_file_note, log_file_open, put_number, put_text,
)

LOG_NAMES = ("bw", "iops", "slat", "clat", "lat")

cdef enum:
    DRAINED_AT_ONCE = 512
    LINE_BYTES = 9 * (NUMBER_BYTES + 2)


def log_path(prefix, name, number, is_per_job):
    """Where fio writes a log: NAME_bw.1.log, or NAME_bw.log for jobs that share one."""
    return f"{prefix}_{name}.{number}.log" if is_per_job else f"{prefix}_{name}.log"


cdef prefixes_of(options):
    """What the file of each kind is called; empty where nothing is to be logged. What is not measured is not."""
    measured = not options["gtod_reduce"]
    return (
        options["write_bw_log"],
        options["write_iops_log"],
        options["write_lat_log"] if measured and not options["disable_slat"] else "",
        options["write_lat_log"] if measured and not options["disable_clat"] else "",
        options["write_lat_log"] if measured and not options["disable_lat"] else "",
    )


cdef inline uint64_t read_clock_ns(int which) noexcept nogil:
    cdef timespec now
    clock_gettime(which, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef inline uint64_t elapsed(uint64_t since_ns, uint64_t now_ns) noexcept nogil:
    return now_ns - since_ns if now_ns > since_ns else 0


cdef inline uint64_t kib_per_second(uint64_t length, uint64_t time_ns) noexcept nogil:
    return <uint64_t>(<double>length * (1e9 / 1024) / <double>(time_ns or 1))


cdef inline uint64_t latency_of(const sample *done, int kind) noexcept nogil:
    if kind == LOG_SLAT:
        return elapsed(done.start_ns, done.issued_ns)
    return elapsed(done.start_ns if kind == LOG_LAT else done.issued_ns, done.completed_ns)


cdef class SampleLog:
    """Lines of `time_ms, value, ddir, bs[, offset], priority[, issue_ns]`, in the files that the options ask for.

    Latencies are in ns, throughput in KiB/s. With windows (log_avg_msec) the value is that of the window, its average
    and then its maximum where both are asked for, and what belongs to one I/O is 0.
    """

    def __cinit__(self):
        cdef int kind
        for kind in range(SAMPLE_LOG_COUNT):
            self.files[kind].fd = -1

    def __init__(self, options, number, uint64_t capacity=DEFAULT_CAPACITY):
        """Opens the files; raises OSError or MemoryError."""
        cdef int kind
        cdef void *memory
        prefixes = prefixes_of(options)
        self.paths = [log_path(prefix, name, number, options["per_job_logs"]) if prefix else None
                      for prefix, name in zip(prefixes, LOG_NAMES, strict=True)]
        self.is_wanted = any(prefixes)
        self.window_ns = 1000 * options["log_avg_msec"]
        self.has_average = options["log_window_value"] != "max"
        self.has_max = options["log_window_value"] != "avg"
        self.has_offset = options["log_offset"]
        self.has_issue_time = options["log_issue_time"]
        self.is_unix = options["log_unix_epoch"]
        self.priority = 1 if options["prioclass"] == 1 else 0  # fio: the real-time class, or not
        self.epoch_ns = <uint64_t>-1
        for kind in range(SAMPLE_LOG_COUNT):
            if self.paths[kind] is not None:
                log_file_open(&self.files[kind], self.paths[kind], not options["per_job_logs"])
        if self.is_wanted and not self.window_ns:
            memory = mmap(NULL, capacity * sizeof(sample), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
            if memory == MAP_FAILED:
                raise MemoryError(f"a log of every I/O: {os.strerror(c_errno)}; set log_avg_msec")
            self.ring = <sample *>memory
            self.capacity = capacity

    def __dealloc__(self):
        cdef int kind
        for kind in range(SAMPLE_LOG_COUNT):
            log_file_close(&self.files[kind])
        if self.ring != NULL:
            munmap(self.ring, self.capacity * sizeof(sample))

    cdef void start(self, uint64_t epoch_ns) noexcept nogil:
        """Measuring begins at `epoch_ns`: time 0 of the log."""
        self.epoch_ns = epoch_ns
        self.unix_ns = 0
        if self.is_unix:
            self.unix_ns = read_clock_ns(CLOCK_REALTIME) - read_clock_ns(CLOCK_MONOTONIC) + epoch_ns
        self.window_begun_ns = epoch_ns
        self.window_end_ns = epoch_ns + self.window_ns

    cdef bint note(self, uint8_t ddir, uint64_t offset, uint32_t length, uint64_t start_ns, uint64_t issued_ns,
                   uint64_t completed_ns) noexcept nogil:
        """Log a completed I/O. True: lines had to be written first, so that the caller's clock is behind."""
        cdef bint was_full
        cdef uint64_t place
        cdef sample done
        if self.window_ns:
            if completed_ns >= self.window_end_ns:
                self.close_window(completed_ns)
            done = sample(start_ns=start_ns, issued_ns=issued_ns, completed_ns=completed_ns, offset=offset,
                          length=length, ddir=ddir)
            self.count_in(&done)
            return False
        was_full = self.count == self.capacity
        if was_full:
            self.drain(DRAINED_AT_ONCE)
        place = self.first + self.count
        if place >= self.capacity:
            place -= self.capacity
        self.ring[place] = sample(start_ns=start_ns, issued_ns=issued_ns, completed_ns=completed_ns, offset=offset,
                                  length=length, ddir=ddir)
        self.count += 1
        return was_full

    cdef uint64_t look(self, uint64_t now_ns) noexcept nogil:
        """Close the window that is over; returns when the next will be, 0 without windows."""
        if not self.window_ns or self.epoch_ns == <uint64_t>-1:
            return 0
        if now_ns >= self.window_end_ns:
            self.close_window(now_ns)
        return self.window_end_ns

    cdef inline void count_in(self, const sample *done) noexcept nogil:
        cdef window *into = &self.windows[done.ddir]
        cdef uint64_t latency_ns
        cdef int kind
        into.ios += 1
        into.bytes += done.length
        for kind in range(LOG_SLAT, SAMPLE_LOG_COUNT):
            latency_ns = latency_of(done, kind)
            into.sum_ns[kind] += latency_ns
            into.max_ns[kind] = max(into.max_ns[kind], latency_ns)

    cdef void close_window(self, uint64_t now_ns) noexcept nogil:
        """Write down what each direction did since the window opened; nothing for one that did nothing.

        Of the window that the end of the job cuts short, rates are told if half of it had passed: those of a
        sliver say nothing.
        """
        cdef uint64_t length_ns = elapsed(self.window_begun_ns, now_ns), rate
        cdef int ddir, kind
        cdef window *closed
        cdef sample nothing
        memset(&nothing, 0, sizeof(sample))
        for ddir in range(3):
            closed = &self.windows[ddir]
            if not closed.ios:
                continue
            nothing.ddir = <uint8_t>ddir
            # A rate has no extremes within its window: the maximum is the rate itself, as in fio.
            if 2 * length_ns >= self.window_ns:
                rate = kib_per_second(closed.bytes, length_ns)
                self.line(LOG_BW, now_ns, rate, rate, &nothing)
                rate = <uint64_t>(<double>closed.ios * 1e9 / <double>(length_ns or 1))
                self.line(LOG_IOPS, now_ns, rate, rate, &nothing)
            for kind in range(LOG_SLAT, SAMPLE_LOG_COUNT):
                self.line(kind, now_ns, closed.sum_ns[kind] // closed.ios, closed.max_ns[kind], &nothing)
        memset(self.windows, 0, sizeof(self.windows))
        self.window_begun_ns = now_ns
        if now_ns >= self.window_end_ns:
            self.window_end_ns += (elapsed(self.window_end_ns, now_ns) // self.window_ns + 1) * self.window_ns

    cdef void drain(self, uint64_t most) noexcept nogil:
        """Make lines of the oldest samples."""
        cdef uint64_t left = min(most, self.count), value
        cdef int kind
        cdef const sample *done
        self.count -= left
        while left:
            left -= 1
            done = &self.ring[self.first]
            self.first = self.first + 1 if self.first + 1 < self.capacity else 0
            for kind in range(SAMPLE_LOG_COUNT):
                if self.files[kind].fd < 0:
                    continue
                if kind == LOG_BW:
                    value = kib_per_second(done.length, elapsed(done.issued_ns, done.completed_ns))
                elif kind == LOG_IOPS:
                    value = 1
                else:
                    value = latency_of(done, kind)
                self.line(kind, done.completed_ns, value, value, done)

    cdef void line(self, int kind, uint64_t time_ns, uint64_t value, uint64_t most, const sample *done) noexcept nogil:
        """One line: of an I/O, or of a window, in which nothing but the direction is of one I/O."""
        cdef log_file *file = &self.files[kind]
        cdef char *at
        if file.fd < 0:
            return
        at = log_file_line(file, LINE_BYTES)
        at = put_number(at, (self.unix_ns + elapsed(self.epoch_ns, time_ns)) // 1000000)
        if self.has_average or not self.window_ns:
            at = put_number(put_text(at, b", ", 2), value)
        if self.has_max and self.window_ns:
            at = put_number(put_text(at, b", ", 2), most)
        at = put_number(put_text(at, b", ", 2), done.ddir)
        at = put_number(put_text(at, b", ", 2), done.length)
        if self.has_offset:
            at = put_number(put_text(at, b", ", 2), done.offset)
        at = put_number(put_text(at, b", ", 2), self.priority)
        if self.has_issue_time:
            at = put_number(put_text(at, b", ", 2),
                            self.unix_ns + elapsed(self.epoch_ns, done.issued_ns) if done.issued_ns else 0)
        log_file_end(file, put_text(at, b"\n", 1))

    cdef finish(self, uint64_t now_ns):
        """Write everything and close the files; returns what people should know of them."""
        cdef int kind
        if self.window_ns and self.epoch_ns != <uint64_t>-1:
            self.close_window(now_ns)
        self.drain(self.count)
        notes = []
        for kind in range(SAMPLE_LOG_COUNT):
            if self.files[kind].fd >= 0:
                log_file_close(&self.files[kind])
                notes.append(log_file_note(&self.files[kind], self.paths[kind]))
        return [note for note in notes if note is not None]
