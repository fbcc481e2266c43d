"""What comes next: direction, file, offset and length of the next I/O."""

from iovigil.engines.permutation cimport permutation_free, permutation_init, permutation_rekey
from iovigil.engines.rng cimport mix


cdef int workload_init(workload *self, dict options, const job_options *native, const target_file *files,
                       uint32_t file_count, uint64_t seed) except -1:
    """Make ready for these files; `workload_rewind` must follow. Raises MemoryError, ValueError with the reason."""
    share = 100 * native.does_read
    if native.does_read and native.does_write:
        share = native.rwmixread
    self.is_plain = True
    self.seed = seed
    self.start = files[0].start
    self.bs = native.max_bs[0] if native.does_read else native.max_bs[1]
    self.block_count = files[0].length // self.bs
    self.is_random = native.is_random
    self.is_mapped = native.is_random and not native.norandommap
    self.read_share = (<uint64_t>share << 32) // 100
    if self.is_mapped and permutation_init(&self.order, self.block_count):
        raise MemoryError
    return 0


cdef void workload_free(workload *self) noexcept nogil:
    permutation_free(&self.order)


cdef void workload_rewind(workload *self) noexcept nogil:
    """Start the job's sequence again: a repeated loop makes the same choices, as fio's does."""
    self.state = mix(self.seed)
    self.position[0] = self.position[1] = self.position[2] = 0
    self.passes = 0
    if self.is_mapped:
        permutation_rekey(&self.order, mix(self.seed))


cdef void workload_pass(workload *self) noexcept nogil:
    """Go on where all has been visited: another pass, in another order."""
    self.position[0] = self.position[1] = self.position[2] = 0
    if self.is_random:
        self.passes += 1
        if self.is_mapped:
            permutation_rekey(&self.order, mix(self.seed + self.passes))
