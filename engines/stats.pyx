"""The stats page: what a job did so far, readable by its agent at any moment, also of a dead or hung job."""

import os
from collections import namedtuple

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport errno as c_errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strlen
from posix.mman cimport (
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    mmap,
    munmap,
)

from iovigil.engines.clock cimport monotonic_ns
from iovigil.engines.latency cimport (
    BUCKET_COUNT,
    bucket_index,
    clear,
    copy_of,
    latency_stats,
    lowest_of,
    merge,
    slot_get,
    slot_set,
)

MismatchRecord = namedtuple(
    "MismatchRecord", "kind offset length first_byte expected found wrong_bits found_offset found_ns is_dumped file",
    defaults=(-1, -1, 0, False, 0),
)
RateSamples = namedtuple("RateSamples", "samples minimum maximum mean stddev")
ScrubFigures = namedtuple(
    "ScrubFigures", "region_bytes cursor_bytes cycle cycle_begun_unix cycles_completed last_ended_unix oldest_unix "
    "unknown_blocks",
)
Usage = namedtuple("Usage", "user_s system_s context_switches major_faults minor_faults max_rss_bytes")


cdef record_of(const mismatch_record *record):
    return MismatchRecord(
        kind=Mismatch(record.kind), offset=record.offset, length=record.length, first_byte=record.first_byte,
        expected=record.expected, found=record.found, wrong_bits=record.wrong_bits, found_offset=record.found_offset,
        found_ns=record.found_ns, is_dumped=bool(record.is_dumped), file=record.file,
    )


cdef members(name):
    """(name, number) of an enumeration above; by that name itself Cython knows its numbers alone."""
    return globals()[name].__members__.items()


cdef sums_of(const latency_stats *stats):
    """[min, max, sum, sum of squares, value, samples, value, samples, ...]; None without samples."""
    cdef uint32_t index
    if stats.min_ns == <uint64_t>-1:
        return None
    kept = [slot_get(&stats.min_ns), slot_get(&stats.max_ns), slot_get(&stats.sum_ns), stats.sum_square]
    for index in range(BUCKET_COUNT):
        if stats.bucket[index]:
            kept.append(lowest_of(index))
            kept.append(slot_get(&stats.bucket[index]))
    return kept


cdef int keep_scrub(scrub_figures *into, list kept) except -1:
    (
        into.region_bytes, into.cursor_bytes, into.cycle, into.cycle_begun_unix, into.cycles_completed,
        into.last_ended_unix, into.oldest_unix, into.unknown_blocks,
    ) = kept
    return 0


cdef int add_kept(latency_stats *into, list kept) except -1:
    cdef uint64_t minimum = kept[0], maximum = kept[1], total_ns = kept[2], value_ns, samples
    cdef Py_ssize_t place
    for place in range(4, len(kept), 2):
        value_ns, samples = kept[place], kept[place + 1]
        into.bucket[bucket_index(value_ns)] += samples
    into.sum_ns += total_ns
    into.sum_square += <double>kept[3]
    into.min_ns = min(into.min_ns, minimum)
    into.max_ns = max(into.max_ns, maximum)
    return 0


cdef inline void add_samples(rate_samples *into, const rate_samples *other) noexcept:
    if not other.count:
        return
    if not into.count or other.minimum < into.minimum:
        into.minimum = other.minimum
    if other.maximum > into.maximum:
        into.maximum = other.maximum
    into.count += other.count
    into.sum += other.sum
    into.sum_square += other.sum_square


cdef uint64_t runtime_ns(const stats_page *page, int ddir) noexcept:
    cdef uint64_t phase_ns = slot_get(&page.phase_ns), now
    cdef uint64_t total = slot_get(&page.runtime_ns[ddir])
    if phase_ns and slot_get(&page.phase_ddirs) & (1 << ddir):
        now = slot_get(&page.ended_ns) or monotonic_ns()
        total += now - phase_ns if now > phase_ns else 0
    return total


# Most words of a page are 0, and most of the others are small: a word is 7 bits a byte, lowest first, with the eighth
# set where more follow; a 0 is followed by how many there are of it.
cdef inline size_t put_word(unsigned char *to, uint64_t word) noexcept nogil:
    cdef size_t length = 0
    while word >= 0x80:
        to[length] = <unsigned char>(word | 0x80)
        word >>= 7
        length += 1
    to[length] = <unsigned char>word
    return length + 1


cdef inline uint64_t take_word(const unsigned char **place) noexcept nogil:
    cdef uint64_t word = 0
    cdef int shift = 0
    while place[0][0] & 0x80:
        word |= <uint64_t>(place[0][0] & 0x7F) << shift
        shift += 7
        place[0] += 1
    word |= <uint64_t>place[0][0] << shift
    place[0] += 1
    return word


cdef enum:
    PAGE_WORDS = sizeof(stats_page) // 8
    LONGEST_WORD = 10


cdef PackedPage pack(const stats_page *page):
    cdef PackedPage self = PackedPage.__new__(PackedPage)
    cdef const uint64_t *word = <const uint64_t *>page
    cdef unsigned char *to = <unsigned char *>malloc(PAGE_WORDS * LONGEST_WORD)
    cdef size_t length = 0, index = 0, zeroes_from
    cdef uint64_t value
    if to == NULL:
        raise MemoryError
    while index < PAGE_WORDS:
        value = slot_get(&word[index])
        index += 1
        length += put_word(to + length, value)
        if not value:
            zeroes_from = index - 1
            while index < PAGE_WORDS and not slot_get(&word[index]):
                index += 1
            length += put_word(to + length, index - zeroes_from)
    try:
        self.data = PyBytes_FromStringAndSize(<char *>to, length)
    finally:
        free(to)
    return self


cdef class PackedPage:
    """A stats page that is kept and not added to."""

    def __cinit__(self):
        self.data = b""

    def page(self):
        """The page, in private memory of its own."""
        if not self.data:
            return StatsPage.private()
        cdef StatsPage page = StatsPage.__new__(StatsPage)
        page.map(MAP_PRIVATE | MAP_ANONYMOUS)  # all 0, and only what is not is touched
        cdef uint64_t *word = <uint64_t *>page.page
        cdef const unsigned char *place = <const unsigned char *>self.data
        cdef const unsigned char *end = place + len(self.data)
        cdef size_t index = 0
        cdef uint64_t value
        while place < end:
            value = take_word(&place)
            if value:
                word[index] = value
                index += 1
            else:
                index += take_word(&place)
        return page

    def __len__(self):
        """Bytes that it takes."""
        return len(self.data)

    def __eq__(self, other):
        return isinstance(other, PackedPage) and self.data == (<PackedPage>other).data

    def __hash__(self):
        return hash(self.data)


cdef class StatsPage:
    """Counters and histograms of one job, or the sum of several.

    Made by the agent in shared memory (`create`), attached by the job (`attach`); `private`
    makes an empty one for sums. Reading never blocks and needs no lock: counters are 64-bit
    words that only grow, skewed against each other by at most the I/Os in flight.
    """

    def __cinit__(self):
        self.page = NULL
        self.fd = -1

    def __dealloc__(self):
        self.close()

    @classmethod
    def create(cls, path=None):
        """A page in shared memory, ready to be handed to a child. Raises OSError.

        With a `path`, which has to be in memory and not be there yet, it outlives the agent.
        """
        cdef StatsPage self = cls.__new__(cls)
        if path is None:
            self.fd = os.memfd_create("iovigil-stats", os.MFD_CLOEXEC)
            os.ftruncate(self.fd, sizeof(stats_page))
        else:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # A page of it that a full tmpfs cannot give when it is first written to would be a SIGBUS.
            os.posix_fallocate(self.fd, 0, sizeof(stats_page))
        self.map(MAP_SHARED)
        self.initialise()
        return self

    @classmethod
    def attach(cls, int fd):
        """The page behind a descriptor, which now belongs to this object. ValueError if it is none of ours."""
        cdef StatsPage self = cls.__new__(cls)
        self.fd = fd
        size = os.fstat(fd).st_size
        if size != sizeof(stats_page):
            raise ValueError(f"stats page: {size} bytes, expected {sizeof(stats_page)}")
        self.map(MAP_SHARED)
        if self.page.magic != PAGE_MAGIC or self.page.version != PAGE_VERSION or self.page.size != sizeof(stats_page):
            raise ValueError("stats page: another layout; agent and engines are of different versions")
        return self

    @classmethod
    def private(cls):
        """An empty page in private memory, to add others to."""
        cdef StatsPage self = cls.__new__(cls)
        # Not of the heap: what is not written to costs nothing, and all of it goes back to the kernel.
        self.map(MAP_PRIVATE | MAP_ANONYMOUS)
        self.initialise()
        return self

    cdef int map(self, int flags) except -1:
        cdef void *address = mmap(NULL, sizeof(stats_page), PROT_READ | PROT_WRITE, flags, self.fd, 0)
        if address == MAP_FAILED:
            raise OSError(c_errno, os.strerror(c_errno), "stats page")
        self.page = <stats_page *>address
        return 0

    cdef void initialise(self) noexcept:
        cdef int kind, ddir
        self.page.magic = PAGE_MAGIC
        self.page.version = PAGE_VERSION
        self.page.size = sizeof(stats_page)
        for kind in range(LATENCY_COUNT):
            for ddir in range(DDIR_COUNT):
                clear(&self.page.latency[kind][ddir])

    cpdef close(self):
        """Give the memory back; reading the page afterwards is an error of the caller."""
        if self.page != NULL:
            munmap(self.page, sizeof(stats_page))
            self.page = NULL
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def fileno(self):
        return self.fd

    def copy(self):
        """A private copy of the present moment; a phase that was running is taken as ended now."""
        cdef StatsPage other = StatsPage.private()
        memcpy(other.page, self.page, sizeof(stats_page))
        if not other.page.ended_ns:
            other.page.ended_ns = monotonic_ns()
        return other

    def packed(self):
        """The page of the present moment, to be kept: a few KB instead of the whole layout."""
        return pack(self.page)

    def add(self, StatsPage other not None):
        """Add the counters, histograms and times of another page; state, text and records stay.

        Where a scrub stands is taken over: it is no sum.
        """
        cdef int kind, ddir, index
        cdef stats_page *to = self.page
        cdef stats_page *page = other.page
        for ddir in range(DDIR_COUNT):
            for kind in range(COUNTER_COUNT):
                to.counter[kind][ddir] += page.counter[kind][ddir]
            for index in range(ERRNO_COUNT):
                to.errors[ddir][index] += page.errors[ddir][index]
            for kind in range(LATENCY_COUNT):
                if page.latency[kind][ddir].min_ns != <uint64_t>-1:
                    merge(&to.latency[kind][ddir], &page.latency[kind][ddir])
            add_samples(&to.bw[ddir], &page.bw[ddir])
            add_samples(&to.iops[ddir], &page.iops[ddir])
            to.runtime_ns[ddir] += runtime_ns(page, ddir)
        for index in range(MISMATCH_COUNT):
            to.mismatch[index] += page.mismatch[index]
        for index in range(DEPTH_COUNT):
            to.depth_level[index] += page.depth_level[index]
            to.submits[index] += page.submits[index]
            to.completes[index] += page.completes[index]
        if page.scrub.region_bytes:
            to.scrub = page.scrub
        to.total_errors += page.total_errors
        to.unverified_bytes += page.unverified_bytes
        to.user_us += page.user_us
        to.system_us += page.system_us

    def sums(self):
        """What counters and histograms are made of, by names and in builtin types: fit to be kept.

        Latencies are kept by their values and not by the places of buckets, so that a later layout can take them in.
        """
        cdef int kind, ddir
        return {
            "counters": {name: [slot_get(&self.page.counter[kind][ddir]) for ddir in range(DDIR_COUNT)]
                         for name, kind in members("Counter")},
            "latencies": {name: [sums_of(&self.page.latency[kind][ddir]) for ddir in range(DDIR_COUNT)]
                          for name, kind in members("Latency")},
            "errors": [self.errors(ddir) for ddir in range(DDIR_COUNT)],
            "mismatches": {name: slot_get(&self.page.mismatch[kind]) for name, kind in members("Mismatch")},
            "runtime_ns": [runtime_ns(self.page, ddir) for ddir in range(DDIR_COUNT)],
            "scrub": list(self.scrub or ()),
            "total_errors": slot_get(&self.page.total_errors),
            "unverified_bytes": slot_get(&self.page.unverified_bytes),
            "user_us": self.page.user_us,
            "system_us": self.page.system_us,
        }

    def add_sums(self, sums):
        """Add what `sums` returned; names that are not known any more are left out.

        Raises LookupError, TypeError, ValueError or OverflowError where it is nothing of the kind; some of it may have
        been added then.
        """
        cdef int kind, ddir, number
        cdef uint64_t count
        for name, kind in members("Counter"):
            for ddir, count in enumerate(sums["counters"].get(name, ())[:DDIR_COUNT]):
                self.page.counter[kind][ddir] += count
        for name, kind in members("Latency"):
            for ddir, kept in enumerate(sums["latencies"].get(name, ())[:DDIR_COUNT]):
                if kept:
                    add_kept(&self.page.latency[kind][ddir], kept)
        for ddir, errors in enumerate(sums["errors"][:DDIR_COUNT]):
            for number, count in errors.items():
                self.page.errors[ddir][number if 0 <= number < ERRNO_COUNT else 0] += count
        for name, kind in members("Mismatch"):
            count = sums["mismatches"].get(name, 0)
            self.page.mismatch[kind] += count
        for ddir, count in enumerate(sums["runtime_ns"][:DDIR_COUNT]):
            self.page.runtime_ns[ddir] += count
        if (scrub := sums.get("scrub")):
            keep_scrub(&self.page.scrub, scrub)
        self.page.total_errors += sums["total_errors"]
        self.page.unverified_bytes += sums["unverified_bytes"]
        self.page.user_us += sums["user_us"]
        self.page.system_us += sums["system_us"]

    def counter(self, int counter, int ddir):
        return slot_get(&self.page.counter[counter][ddir])

    def errors(self, int ddir):
        """{errno: I/Os that returned it}; 0 stands for an errno beyond the table."""
        cdef int index
        return {index: slot_get(&self.page.errors[ddir][index]) for index in range(ERRNO_COUNT)
                if self.page.errors[ddir][index]}

    def mismatch(self, int kind):
        return slot_get(&self.page.mismatch[kind])

    def histogram(self, int kind, int ddir):
        return copy_of(&self.page.latency[kind][ddir])

    def runtime_ns(self, int ddir):
        """Time spent in phases of this direction, the running one included while the job lives."""
        return runtime_ns(self.page, ddir)

    def oldest_inflight_ns(self):
        """Age of the oldest I/O handed to the engine and not come back; 0 when there is none."""
        cdef uint64_t oldest = <uint64_t>-1, stamp, now
        cdef int index
        for index in range(MAX_IODEPTH):
            stamp = slot_get(&self.page.inflight_ns[index])
            if stamp and stamp < oldest:
                oldest = stamp
        if oldest == <uint64_t>-1:
            return 0
        now = monotonic_ns()
        return now - oldest if now > oldest else 0

    def mismatches(self):
        """The first mismatches of the run, in the order they were found."""
        cdef uint64_t found = 0
        cdef int index
        for index in range(MISMATCH_COUNT):
            found += slot_get(&self.page.mismatch[index])
        return [record_of(&self.page.mismatches[index]) for index in range(min(found, <uint64_t>MISMATCHES_KEPT))]

    def depth_levels(self):
        return [self.page.depth_level[index] for index in range(DEPTH_COUNT)]

    def submits(self):
        return [self.page.submits[index] for index in range(DEPTH_COUNT)]

    def completes(self):
        return [self.page.completes[index] for index in range(DEPTH_COUNT)]

    def bw_samples(self, int ddir):
        return samples_of(&self.page.bw[ddir])

    def iops_samples(self, int ddir):
        return samples_of(&self.page.iops[ddir])

    def calibrate(self, source):
        """Write the agent's clock (see `Clock.source`) where the child will read it."""
        base_ticks, base_ns, mult, is_tsc = source
        self.page.clock.base_ticks = base_ticks
        self.page.clock.base_ns = base_ns
        self.page.clock.mult = mult
        self.page.clock.is_tsc = is_tsc

    def request_stop(self):
        """Ask the job to end as soon as its I/O in flight has come back."""
        slot_set(&self.page.stop, 1)

    def release(self):
        """Let the job start, as soon as it is ready."""
        slot_set(&self.page.is_released, 1)

    @property
    def is_released(self):
        return bool(slot_get(&self.page.is_released))

    @property
    def is_stopped(self):
        return bool(slot_get(&self.page.stop))

    @property
    def state(self):
        return RunState(slot_get(&self.page.state))

    @state.setter
    def state(self, int value):
        slot_set(&self.page.state, value)

    @property
    def error(self):
        return slot_get(&self.page.error)

    @property
    def first_error(self):
        return slot_get(&self.page.first_error)

    @property
    def total_errors(self):
        return slot_get(&self.page.total_errors)

    @property
    def is_complete(self):
        return bool(slot_get(&self.page.is_complete))

    @property
    def text(self):
        cdef size_t length = strlen(self.page.text)  # the last byte is never written
        return PyBytes_FromStringAndSize(self.page.text, length).decode(errors="replace")

    @text.setter
    def text(self, value):
        cdef bytes data = value.encode()[:TEXT_SIZE - 1] + b"\0"
        memcpy(self.page.text, <char *>data, len(data))

    @property
    def unverified_bytes(self):
        return slot_get(&self.page.unverified_bytes)

    @property
    def inherited_bytes(self):
        return slot_get(&self.page.inherited_bytes)

    @property
    def latency_depth(self):
        return slot_get(&self.page.latency_depth)

    @property
    def scrub(self):
        """Where a scrub stands; None where there is none."""
        cdef const scrub_figures *scrub = &self.page.scrub
        if not slot_get(&scrub.region_bytes):
            return None
        return ScrubFigures(
            slot_get(&scrub.region_bytes), slot_get(&scrub.cursor_bytes), slot_get(&scrub.cycle),
            slot_get(&scrub.cycle_begun_unix), slot_get(&scrub.cycles_completed), slot_get(&scrub.last_ended_unix),
            slot_get(&scrub.oldest_unix), slot_get(&scrub.unknown_blocks))

    @property
    def spawned_ns(self):
        return self.page.spawned_ns

    @spawned_ns.setter
    def spawned_ns(self, uint64_t value):
        self.page.spawned_ns = value

    @property
    def first_io_ns(self):
        return slot_get(&self.page.first_io_ns)

    @property
    def epoch_ns(self):
        return slot_get(&self.page.epoch_ns)

    @property
    def ended_ns(self):
        return slot_get(&self.page.ended_ns)

    @property
    def usage(self):
        return Usage(self.page.user_us / 1e6, self.page.system_us / 1e6, self.page.context_switches,
                     self.page.major_faults, self.page.minor_faults, self.page.max_rss_bytes)


cdef samples_of(const rate_samples *samples):
    if not samples.count:
        return RateSamples(0, 0.0, 0.0, 0.0, 0.0)
    mean = samples.sum / samples.count
    variance = samples.sum_square / samples.count - mean * mean
    if samples.count > 1:
        variance *= samples.count / (samples.count - 1.0)
    return RateSamples(samples.count, samples.minimum, samples.maximum, mean, max(variance, 0.0) ** 0.5)
