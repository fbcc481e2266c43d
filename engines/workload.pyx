"""What comes next: direction, file, offset and length of the next I/O."""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from iovigil.engines.file_order cimport (
    BY_DISTRIBUTION, IN_SEQUENCE, file_order_done, file_order_free, file_order_init, file_order_next, file_order_pass,
    file_order_rewind,
)
from iovigil.engines.job_options cimport read_options
from iovigil.engines.lengths cimport lengths_free, lengths_init
from iovigil.engines.offsets cimport (
    FREE, MAPPED, PERMUTED, REGISTER, SHIFT_REGISTER, TAUSWORTHE, TAUSWORTHE64, WYRAND, course_draw, course_free,
    course_init, course_pass, stretch,
)
from iovigil.engines.permutation cimport permutation_free, permutation_init, permutation_rekey
from iovigil.engines.rng cimport mix
from iovigil.engines.target cimport TargetFiles
from iovigil.engines.tausworthe cimport (
    FILE_STREAM, LENGTH_STREAM, OFFSET_STREAM, TURN_STREAM, stream_seed, tausworthe64_seed, tausworthe_seed,
)

cdef uint64_t FIO_RANDSEED = 0x89
cdef uint64_t FIO_REPEATED_SEED = 0xB1899BED
cdef dict GENERATORS = {"auto": WYRAND, "tausworthe": TAUSWORTHE, "tausworthe64": TAUSWORTHE64, "lfsr": SHIFT_REGISTER}


cdef int workload_init(workload *self, dict options, const job_options *native, const target_file *files,
                       uint32_t file_count, uint64_t seed, uint32_t number=1) except -1:
    """Make ready for these files; `workload_rewind` must follow. Raises MemoryError, ValueError with the reason.

    `number` is the job's place among those beside it; fio seeds its generators with it.
    """
    cdef bint[3] uses = [native.does_read, native.does_write and not native.is_trimwrite, native.does_trim]
    share = 100 * native.does_read
    if native.does_read and native.does_write:
        share = native.rwmixread
    self.seed = seed
    self.file_count = file_count
    self.is_random = native.is_random
    self.is_mapped = native.is_random and not native.norandommap
    self.read_share = (<uint64_t>share << 32) // 100
    self.other_ddir = TRIM if native.does_trim else WRITE
    self.is_trimwrite = native.is_trimwrite
    used = [ddir for ddir in range(3) if uses[ddir]]
    sizes = {native.min_bs[ddir] for ddir in used} | {native.max_bs[ddir] for ddir in used}
    if native.is_random and options["bs_is_seq_rand"]:
        sizes |= {native.min_bs[0], native.max_bs[0], native.min_bs[1], native.max_bs[1]}
    is_fixed = len(sizes) == 1 and all(native.blockalign[ddir] in (0, native.min_bs[ddir]) for ddir in used)
    is_uniform = options["random_distribution"][0] == "random"
    self.is_plain = (
        file_count == 1 and is_fixed and not native.is_trimwrite and not native.sequence
        and options["zonemode"] == "none"
    )
    if native.is_random:
        self.is_plain = (
            self.is_plain and is_uniform and options["random_generator"] == "auto"
            and all(native.percentage_random[ddir] == 100 for ddir in used)
        )
    self.bs = max(sizes)
    self.interval = 1
    if native.is_verified:
        self.interval = verify_interval(options, native, used)
    if not self.is_plain:
        return init_shape(self, options, native, files, used, is_fixed, number)
    self.start = files[0].start
    self.block_count = files[0].length // self.bs
    if self.is_mapped and permutation_init(&self.order, self.block_count):
        raise MemoryError
    return 0


cdef uint64_t verify_interval(dict options, const job_options *native, list used) except 0:
    """Bytes under one verify header: as asked, but no more than the least bs. All I/O begins and ends with one.

    Raises ValueError for options that would not keep to it.
    """
    cdef uint64_t interval = options["common_bs"]
    if native.verify_interval:
        interval = min(interval, native.verify_interval)
    steps = [("bs", options["common_bs"])]
    if native.is_random:
        steps += [("blockalign", native.blockalign[ddir]) for ddir in used]
    elif native.sequence:
        steps += [("rw", abs(native.sequence))]
    if options["zonemode"] != "none":
        steps += [("zonerange", native.zonerange or native.zonesize), ("zoneskip", native.zoneskip)]
    for name, step in steps:
        if step % interval:
            raise ValueError(f"{name}: {step} is no multiple of the {interval} bytes under one verify header; "
                             f"set verify_interval to a divisor of both")
    return interval


cdef int init_shape(workload *self, dict options, const job_options *native, const target_file *files, list used,
                    bint is_fixed, uint32_t number) except -1:
    """Whatever is not plain."""
    cdef manner *how = &self.how
    cdef uint32_t index
    how.is_random = native.is_random
    how.is_seq_rand = options["bs_is_seq_rand"]
    how.is_identical = options["rw_sequencer"] == "identical"
    how.sequence = native.sequence
    if how.is_random and how.sequence < 0:
        raise ValueError(f"rw: {how.sequence} I/Os per new offset; a random job takes 1 or more")
    how.seed = self.seed
    how.interval = self.interval
    for ddir in (0, 1) if how.is_seq_rand else used:
        how.granule = common_divisor(native.min_bs[ddir], how.granule)
    for ddir in range(3):
        how.percentage_random[ddir] = native.percentage_random[ddir]
        how.unit[ddir] = native.blockalign[ddir] or native.min_bs[ddir]
        lengths_init(&how.length[ddir], options["bs"][ddir], options["bsrange"][ddir], options["bssplit"][ddir],
                     1 if native.bs_unaligned else 0, self.interval, how.granule)
    init_zones(how, options, native, used)
    is_uniform = options["random_distribution"][0] == "random"
    is_aligned = all(native.blockalign[ddir] in (0, native.min_bs[ddir]) for ddir in used)
    how.generator = GENERATORS[options["random_generator"]]
    if how.generator == TAUSWORTHE:
        for index in range(self.file_count):
            if files[index].length // how.granule >> 32:
                how.generator = TAUSWORTHE64  # as fio does: 32 bits would not reach every block
    self.is_mapped = self.is_mapped and is_uniform and is_aligned
    if not self.is_mapped:
        how.coverage = FREE
    elif is_fixed and not how.is_zoned and how.generator == WYRAND:
        how.coverage = PERMUTED
    elif is_fixed and not how.is_zoned and how.generator == SHIFT_REGISTER:
        how.coverage = REGISTER
    else:
        how.coverage = MAPPED
    self.is_endless = how.is_random and how.coverage == FREE or not how.is_random and how.sequence or how.is_zoned

    self.courses = <course *>calloc(self.file_count, sizeof(course))
    if self.courses == NULL:
        raise MemoryError
    for index in range(self.file_count):
        course_init(&self.courses[index], how, files[index].start, files[index].length,
                    options["random_distribution"], native.softrandommap)
    seed_streams(self, native, options, number)
    return 0


cdef uint64_t common_divisor(uint64_t a, uint64_t b) noexcept:
    while b:
        a, b = b, a % b
    return a


cdef int init_zones(manner *how, dict options, const job_options *native, list used) except -1:
    cdef uint64_t most = max([native.max_bs[ddir] for ddir in used])
    how.is_zoned = options["zonemode"] == "strided"
    if not how.is_zoned:
        return 0
    how.zonesize = native.zonesize
    how.zonerange = native.zonerange or native.zonesize
    how.zonestep = how.zonerange + native.zoneskip
    if not how.zonesize:
        raise ValueError("zonesize: zonemode=strided needs one")
    if how.zonerange < most:
        raise ValueError(f"zonerange: {how.zonerange} bytes have no room for an I/O of {most}")
    return 0


cdef int seed_streams(workload *self, const job_options *native, dict options, uint32_t number) except -1:
    """fio's seeds, so that random_generator=tausworthe draws fio's offsets, and lengths are fio's in any case.

    fio 3.33 seeds offsets by the job's number alone as long as randrepeat is on; later versions by randseed. Here
    the default randseed gives what 3.33 gives, and any other what later versions give.
    """
    cdef uint64_t randseed = native.randseed, offset_seed
    cdef uint64_t[16] seeds
    cdef uint32_t stream, ddir
    if not (native.randrepeat or native.allrandrepeat):
        randseed = self.seed
        number = 1
    for stream in range(16):
        seeds[stream] = stream_seed(randseed, number, stream)
        if native.allrandrepeat:
            seeds[stream] = FIO_REPEATED_SEED * number + stream
    offset_seed = seeds[<uint32_t>OFFSET_STREAM]
    if native.randrepeat and (native.allrandrepeat or randseed == FIO_RANDSEED):
        offset_seed = FIO_REPEATED_SEED * number
    self.how.offset_seed = offset_seed
    for ddir in range(3):
        self.how.length[ddir].seed = seeds[<uint32_t>LENGTH_STREAM + ddir]
        self.how.turn_seed[ddir] = seeds[<uint32_t>TURN_STREAM + ddir]
    file_order_init(&self.files, options["file_service_type"], self.file_count, self.seed, seeds[<uint32_t>FILE_STREAM])
    return 0


cdef void workload_free(workload *self) noexcept nogil:
    cdef uint32_t index
    permutation_free(&self.order)
    if self.courses != NULL:
        for index in range(self.file_count):
            course_free(&self.courses[index])
        free(self.courses)
        self.courses = NULL
    for index in range(3):
        lengths_free(&self.how.length[index])
    file_order_free(&self.files)


cdef void workload_rewind(workload *self) noexcept nogil:
    """Start the job's sequence again: a repeated loop makes the same choices, as fio's does."""
    self.state = mix(self.seed)
    self.passes = 0
    if not self.is_plain:
        rewind_shape(self)
        return
    self.position[0] = self.position[1] = self.position[2] = 0
    if self.is_mapped:
        permutation_rekey(&self.order, mix(self.seed))


cdef void rewind_shape(workload *self) noexcept nogil:
    cdef uint32_t index
    cdef manner *how = &self.how
    how.state = mix(self.seed)
    how.issued = 0
    tausworthe_seed(&how.random, how.offset_seed)
    tausworthe64_seed(&how.random64, how.offset_seed)
    for index in range(3):
        tausworthe_seed(&how.length[index].random, how.length[index].seed)
        tausworthe_seed(&how.turn[index], how.turn_seed[index])
    file_order_rewind(&self.files)
    pass_shape(self)


cdef void pass_shape(workload *self) noexcept nogil:
    cdef uint32_t index
    if self.is_trimwrite:
        self.other_ddir = TRIM
    self.left_count = 0
    file_order_pass(&self.files)
    for index in range(self.file_count):
        course_pass(&self.courses[index], &self.how, self.passes)


cdef void workload_pass(workload *self) noexcept nogil:
    """Go on where all has been visited: another pass, in another order."""
    self.passes += 1
    if not self.is_plain:
        pass_shape(self)
        return
    self.position[0] = self.position[1] = self.position[2] = 0
    if self.is_random and self.is_mapped:
        permutation_rekey(&self.order, mix(self.seed + self.passes))


cdef bint draw(workload *self, int ddir, piece *drawn) noexcept nogil:
    """`next_piece` of what is not plain."""
    cdef stretch found
    cdef course *at
    if self.is_trimwrite and ddir == WRITE:
        drawn[0] = self.trimmed
        self.other_ddir = TRIM
        return True
    while file_order_next(&self.files):
        at = &self.courses[self.files.current]
        if has_had_its_bytes(self, at):
            self.left_count += 1
        else:
            if course_draw(at, &self.how, ddir, &found):
                break
            if self.files.service == BY_DISTRIBUTION:
                # Such a file has its share however small it is: round again.
                course_pass(at, &self.how, self.passes)
                if course_draw(at, &self.how, ddir, &found):
                    break
        file_order_done(&self.files)
        if self.left_count and self.files.done_count == self.file_count:
            restart_files(self)
    else:
        return False
    drawn.file = self.files.current
    drawn.offset = found.offset
    drawn.length = <uint32_t>found.length
    if self.is_trimwrite:
        self.trimmed = drawn[0]
        self.other_ddir = WRITE
    return True


cdef inline bint has_had_its_bytes(const workload *self, const course *at) noexcept nogil:
    """In file_service_type=sequential a file without an end of its own is left when as much as it holds was done."""
    return (self.is_endless and self.file_count > 1 and self.files.service == IN_SEQUENCE
            and at.pass_bytes >= at.length)


cdef void restart_files(workload *self) noexcept nogil:
    cdef uint32_t index
    self.left_count = 0
    file_order_pass(&self.files)
    for index in range(self.file_count):
        self.courses[index].pass_bytes = 0


cdef class Workload:
    """What a job would do to files of (start, length), for tests and tools. `options` is `JobOptions.native()`."""

    cdef workload work
    cdef job_options native
    cdef TargetFiles targets

    def __cinit__(self):
        memset(&self.work, 0, sizeof(workload))

    def __init__(self, dict options not None, files, uint64_t seed=0, uint32_t number=1):
        workload_free(&self.work)
        memset(&self.work, 0, sizeof(workload))
        self.native = read_options(options)
        self.targets = TargetFiles([(-1, start + length, start, length) for start, length in files])
        workload_init(&self.work, options, &self.native, self.targets.files, self.targets.count, seed, number)
        workload_rewind(&self.work)

    def __dealloc__(self):
        workload_free(&self.work)

    @property
    def is_plain(self):
        """Whether the loop draws it inline."""
        return self.work.is_plain

    @property
    def interval(self):
        """Bytes under one verify header, 1 without verify."""
        return self.work.interval

    def draw(self, uint64_t count):
        """The next I/Os as (direction, file, offset, length); fewer than `count` when the pass has no more."""
        cdef piece drawn
        cdef int ddir
        ios = []
        for _ in range(count):
            ddir = next_ddir(&self.work)
            if not next_piece(&self.work, ddir, &drawn):
                break
            ios.append((ddir, drawn.file, drawn.offset, drawn.length))
        return ios

    def next_pass(self):
        """Begin another pass, in another order."""
        workload_pass(&self.work)

    def rewind(self):
        """Begin again, with the same choices."""
        workload_rewind(&self.work)
