"""What one job is made of, set up from its options."""

import os

from libc.stdlib cimport calloc, free
from posix.fcntl cimport POSIX_FADV_RANDOM, POSIX_FADV_SEQUENTIAL

from iovigil.engines.buffers cimport Buffers
from iovigil.engines.checkers cimport Checkers
from iovigil.engines.contents cimport REMAKE, contents_begin, contents_free, contents_init
from iovigil.engines.depth_search cimport search_init
from iovigil.engines.dumps cimport Dumps
from iovigil.engines.flow cimport flow_attach, flow_leave
from iovigil.engines.io_u cimport WRITE, io_u
from iovigil.engines.integrity cimport Integrity
from iovigil.engines.job_options cimport read_options
from iovigil.engines.latency cimport slot_set
from iovigil.engines.logs cimport Logs
from iovigil.engines.outcomes cimport Outcomes, Vouched
from iovigil.engines.pace cimport pace_init
from iovigil.engines.recorder cimport Recorder
from iovigil.engines.replay cimport Replay
from iovigil.engines.rng cimport mix
from iovigil.engines.scrub cimport Scrub
from iovigil.engines.stats cimport MAX_IODEPTH, StatsPage
from iovigil.engines.target cimport TargetFiles
from iovigil.engines.think cimport think_init
from iovigil.engines.workload cimport workload_free, workload_init, workload_rewind

from iovigil.engines.loading import load_engine
from iovigil.engines.setup_error import SetupError

cdef enum:
    IGNORED_MOST = 32  # errno values of one list of ignore_error
    BLOCKS_A_CHECKER = 2  # one being checked, one waiting
    PACE_STREAM = 1
    CONTENTS_STREAM = 2


cdef dict ADVICE = {
    "auto": BY_DIRECTION,
    "none": NO_ADVICE,
    "random": POSIX_FADV_RANDOM,
    "sequential": POSIX_FADV_SEQUENTIAL,
}


cdef tuple with_first(tuple file):
    """A file of a job with the first byte that it may touch."""
    return file if len(file) == 3 else (*file, 0)


cdef class PreparedJob:
    """One workload against one target, ready to run."""

    def __init__(self, dict options not None, StatsPage stats not None, files, uint32_t number=1, flow_place=None,
                 names=(), location=None, shared_log=None, state_file=None,
                 scrub=None):
        """Raises SetupError, or EngineUnavailable when this host does not allow the engine.

        `options` is `JobOptions.native()`; `files` are (descriptor, bytes that may be touched, 0 when it has no end
        of its own, and where those begin unless at 0) each, none for an engine without a target; `number` is the
        job's place among those beside it; `flow_place` a FlowPage and its place there; `names` what an iolog calls
        the files, None where it is replayed on one file whatever it says; `location` where the engine is, when it is
        none of ours; `shared_log` a write log that is not this job's alone (see Integrity); `state_file` the directory of
        the verify state file, the job's name and its index; `scrub` what a scrub is told (see Scrub), None for any
        other job.
        """
        self.stats = stats
        self.page = stats.page
        self.names = names
        self.flow_place = flow_place
        self.state_file = state_file
        self.state_notes = []
        self.vouched = Vouched()
        self.set_up(options, [with_first(file) for file in files or [(-1, 0)]], number, location, shared_log,
                    scrub)
        if flow_place is not None:
            # Before the release: of jobs that begin together the first would run free until the others have joined.
            flow_page, place = flow_place
            flow_attach(&self.flow, flow_page, place, self.flow_weight, self.options.flow_sleep)

    def __dealloc__(self):
        if self.engine is not None:
            self.engine.close()
        workload_free(&self.work)
        contents_free(&self.contents)
        flow_leave(&self.flow)
        free(self.ios)
        free(self.free)
        free(self.again)
        free(self.batch)
        free(self.due_ns)

    cdef int set_up(self, dict options, files, uint32_t number, location, shared_log,
                    scrub) except -1:
        cdef uint64_t slot, seed
        cdef uint32_t depth, index, extra
        try:
            ioengine = options["ioengine"]
            self.options = read_options(options)
        except (KeyError, ValueError) as error:
            raise SetupError(f"options are of another version: {error}") from None
        self.max_bs = max([self.options.max_bs[ddir] for ddir in range(3) if self.uses(ddir)])
        self.min_bs = min([self.options.min_bs[ddir] for ddir in range(3) if self.uses(ddir)])
        if self.options.is_replayed:
            if self.options.is_verified:
                raise SetupError("verify: what read_iolog replays has no headers to check; leave one of the two out")
            try:
                self.replay = Replay(options, self.names, [size for _, size, _ in files])
            except ValueError as error:
                raise SetupError(str(error)) from None
            self.adopt(self.replay)
        self.targets = TargetFiles(self.regions(files), [(first, self.end(size, first)) for _, size, first in files])
        self.region_bytes = sum([self.targets.files[index].length for index in range(self.targets.count)])
        self.pass_bytes = self.options.io_size if self.options.io_size >= 0 else (
            self.region_bytes * <uint64_t>-self.options.io_size // 100)
        if not self.pass_bytes:
            self.pass_bytes = self.region_bytes
        seed = self.options.randseed + (number - 1) * <uint64_t>0x9E3779B97F4A7C15
        if not self.options.randrepeat and not self.options.allrandrepeat:
            seed ^= int.from_bytes(os.urandom(8), "little")
        seed = self.seed = self.set_up_state(options, seed)
        try:
            if not self.options.is_replayed:
                workload_init(&self.work, options, &self.options, self.targets.files, self.targets.count, seed,
                              number)
                workload_rewind(&self.work)
        except ValueError as error:
            raise SetupError(str(error)) from None

        # A seed each: when an I/O comes must say nothing of where it goes.
        pace_init(&self.pace, &self.options, mix(seed ^ PACE_STREAM))
        self.integrity = Integrity(self.stats, self.targets, options, number, seed, self.work.interval, self.max_bs,
                                   shared_log)
        self.reads_back = self.integrity.is_logged and self.options.do_verify
        self.keeps_outcomes = (self.state_file is not None and options["verify_state_save"] and self.integrity.is_logged
                               and not self.options.verify_only)
        self.has_backlog = self.integrity.verify_backlog or self.integrity.trim_backlog
        self.has_conflicts = self.integrity.is_logged or self.options.serialize_overlap
        self.is_mixed = self.options.does_read and self.options.does_write
        # The reads of a mixed job may come before the writes, and are not judged.
        self.checks_reads = self.options.is_verified and not self.options.does_write
        for which, errors in enumerate(options["ignore_error"]):
            self.ignored_count[which] = min(len(errors), IGNORED_MOST)
            for place in range(self.ignored_count[which]):
                self.ignored[which][place] = errors[place]
        self.range_writes = options["sync_file_range"][1]
        self.syncs = self.options.fsync or self.options.fdatasync or self.range_writes
        self.skips_slat = self.options.disable_slat or self.options.gtod_reduce
        self.skips_clat = self.options.disable_clat or self.options.gtod_reduce
        self.skips_lat = self.options.disable_lat or self.options.gtod_reduce
        self.logs = Logs(options, number)
        self.is_recorded = options["write_iolog"] != ""
        if self.is_recorded:
            self.recorder = Recorder(options["write_iolog"], self.names or ["target"])
        self.is_scrub = scrub is not None
        if self.is_scrub:
            self.scrub = Scrub(self.stats, self.targets, scrub, <uint32_t>self.min_bs,
                               Dumps(options, self.targets))
        self.settles = self.options.is_verified or self.is_scrub
        self.restamps = self.logs.is_wanted or self.is_recorded or self.is_scrub
        self.is_watched = (self.logs.is_wanted or self.pace.is_on or self.options.is_replayed
                           or self.options.latency_target or max(self.options.max_latency))
        think_init(&self.think, &self.options)
        contents_init(&self.contents, options, &self.options, mix(seed ^ CONTENTS_STREAM))
        self.flow_weight = options["flow"]
        self.access_advice = ADVICE[options["fadvise_hint"]]

        self.has_checkers = self.options.is_verified and self.options.verify_async
        extra = BLOCKS_A_CHECKER * <uint32_t>self.options.verify_async if self.has_checkers else 0
        # With room for every slot: engines keep something for each, by its index.
        self.engine = load_engine(ioengine, location)(
            self.targets, min(<uint32_t>self.options.iodepth + extra, <uint32_t>MAX_IODEPTH), options)
        self.is_idle = self.engine.is_idle
        if self.engine.is_sync:
            self.options.iodepth = 1
        depth = min(<uint32_t>self.options.iodepth + extra, <uint32_t>MAX_IODEPTH)
        if self.has_checkers:
            self.checkers = Checkers(self.integrity, <uint32_t>self.options.verify_async, depth, self.max_bs,
                                     options["verify_async_cpus"])
        self.buffers = Buffers(options, self.max_bs, depth)
        self.ios = <io_u *>calloc(depth, sizeof(io_u))
        self.free = <io_u **>calloc(depth, sizeof(io_u *))
        self.again = <io_u **>calloc(depth, sizeof(io_u *))
        self.batch = <io_u **>calloc(depth, sizeof(io_u *))
        if self.ios == NULL or self.free == NULL or self.again == NULL or self.batch == NULL:
            raise MemoryError
        self.due_ns = <uint64_t *>calloc(depth, sizeof(uint64_t))
        if self.due_ns == NULL:
            raise MemoryError
        self.depth = depth
        if self.keeps_outcomes:
            self.state_header = options["verify_header"]
            self.outcomes = Outcomes(self.options.iodepth, depth, self.targets.count, self.state_header == "fio-2.2",
                                     options["verify_policy"] == "fsynced")
        search_init(&self.search, &self.options)
        self.limit_depth(self.search.depth)
        self.measures_all = not (
            self.skips_slat or self.skips_clat or self.skips_lat or self.is_watched or self.is_idle)
        self.is_usual = not (
            self.settles or self.options.is_replayed or self.options.is_trimwrite or self.is_recorded
            or self.has_conflicts or self.syncs or self.pace.is_on or self.think.pause_ns or self.search.is_on
            or self.flow_place is not None or self.contents.making == REMAKE)
        for slot in range(depth):
            self.ios[slot].index = <uint32_t>slot
            self.ios[slot].buf = self.buffers.address + slot * self.buffers.stride
            # Slots are taken from the end: the first I/O gets slot 0.
            self.free[depth - 1 - slot] = &self.ios[slot]
        self.free_count = depth
        # Touched now, so that no page fault falls into a measured I/O.
        contents_begin(&self.contents, self.buffers.address, self.buffers.size, self.buffers.stride)
        self.engine.open(self.buffers.address, self.buffers.size)
        return 0

    cdef uint64_t set_up_state(self, dict options, uint64_t seed) except? 0:
        """Go by the verify state file where that is asked for; the seed of the job, which the file may know better."""
        if self.state_file is None or not options["verify_state_load"] or not self.options.is_verified:
            return seed
        if self.options.does_write and not self.options.verify_only:
            return seed
        from iovigil.engines import verify_state

        _, name, _ = self.state_file
        path = verify_state.path_of(*self.state_file)
        state = verify_state.load(path)
        if state.file_count not in (0, self.targets.count):
            raise SetupError(f"verify_state_load: {path} is of a job with {state.file_count} files, "
                             f"and this one has {self.targets.count}")
        if state.name.encode(errors="surrogateescape") != verify_state.cut(name):
            self.state_notes.append(f"verify_state_load: {path} was saved by a job of another name, {state.name}")
        if not (self.options.randrepeat or self.options.allrandrepeat):
            if not state.seed and self.options.is_random:
                raise SetupError(f"verify_state_load: {path} does not tell the seed, as fio's files do not: what "
                                 f"randrepeat=0 drew cannot be drawn again")
            seed = state.seed or seed
        elif state.seed not in (0, seed):
            raise SetupError(f"verify_state_load: {path} is of a job with another randseed or number: its choices "
                             f"were others")
        open_numbers = None if state.version == verify_state.WITH_PLACES else [*state.in_flight, *state.failed]
        self.vouched.take(state.writes, open_numbers, state.places, state.depth)
        return seed

    cdef void limit_depth(self, uint32_t depth) noexcept nogil:
        """Let so many I/Os be in flight from now on, and no larger batches."""
        cdef const job_options *options = &self.options
        self.depth_limit = depth
        self.submit_most = <uint32_t>min(options.iodepth_batch_submit or depth, <uint64_t>depth)
        self.reap_least = <uint32_t>min(max(options.iodepth_batch_complete_min, <uint64_t>1), <uint64_t>depth)
        self.reap_most = <uint32_t>min(options.iodepth_batch_complete_max, <uint64_t>depth)
        self.is_batching = (self.submit_most < depth or options.iodepth_batch_complete_min != 1
                            or options.iodepth_low)
        if self.search.is_on:
            slot_set(&self.page.latency_depth, depth)

    cdef adopt(self, Replay replay):
        """Take lengths and directions from the log, not from the options."""
        cdef int ddir
        self.options.does_read, self.options.does_write = replay.does_read, replay.does_write
        self.options.does_trim = replay.does_trim
        self.options.is_trimwrite = False
        self.max_bs = max(replay.longest, 1)
        self.min_bs = max(replay.shortest, 1)
        for ddir in range(3):
            self.options.min_bs[ddir] = self.min_bs
            self.options.max_bs[ddir] = self.max_bs

    cdef bint uses(self, int ddir) noexcept:
        return (self.options.does_read, self.options.does_write, self.options.does_trim)[ddir]

    def regions(self, files):
        """(descriptor, end, start, length) of each file: what of it the job works on. Raises SetupError."""
        files = [with_first(file) for file in files]
        if self.options.is_replayed:
            if any([first for _, _, first in files]):
                raise SetupError("read_iolog: its offsets are those of a whole device, and the job has a region of one")
            return [(fd, size, 0, size or <uint64_t>1 << 62) for fd, size, _ in files]
        regions = []
        # Every direction must find room: a job that does only half of what was asked for would pass for a good one.
        least = max([self.options.min_bs[ddir] for ddir in range(3)
                     if self.uses(ddir) and not (ddir == WRITE and self.options.is_trimwrite)])
        share = self.options.size // len(files) if self.options.size > 0 else 0
        for fd, size, first in files:
            start = self.options.offset
            if start < 0:
                start = size * -start // 100
                start -= start % (self.options.offset_align or self.min_bs)
            if self.options.fill_device and not self.options.size and not self.options.is_random:
                length = (1 << 62) // self.max_bs * self.max_bs  # no end but the target's
            else:
                length = share or max(size - start, 0)
                if self.options.size < 0:
                    length = min(size * -self.options.size // 100, max(size - start, 0))
                if size and start + length > size and not self.options.fill_device:
                    raise SetupError(f"offset {start} + size {length} is beyond the target's {size}")
            if length < least:
                raise SetupError(f"size: {length} bytes have no room for one block of {least}; set size")
            regions.append((fd, first + size if size else 0, first + start, length))
        return regions

    cdef object end(self, size, first):
        """Where the job must end; a job that fills a file has no end, but on a device's region it has."""
        return first + size if size and (first or not self.options.fill_device) else 0

    @property
    def notes(self):
        """What people should know of the engine: fall-backs that it took."""
        late = [*self.state_notes, *self.logs.notes, *(self.recorder.notes if self.is_recorded else ()),
                *(self.scrub.notes if self.is_scrub else ())]
        return [*self.engine.notes, *late]
