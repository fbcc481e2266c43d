"""What comes next: direction and block of the next I/O."""

from iovigil.engines.permutation cimport permutation_rekey
from iovigil.engines.rng cimport mix


cdef void workload_rewind(workload *self) noexcept nogil:
    """Start the job's sequence again: a repeated loop makes the same choices, as fio's does."""
    self.state = mix(self.seed)
    self.position[0] = self.position[1] = 0
    self.passes = 0
    if self.is_mapped:
        permutation_rekey(&self.order, mix(self.seed))
