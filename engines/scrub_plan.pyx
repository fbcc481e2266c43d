"""Which generation every block of a scrubbed region must hold, by arithmetic alone: nothing is kept for a block."""


cdef class Plan:
    """The arithmetic of generations, for tests and tools."""

    cdef scrub_plan plan

    def __cinit__(self, uint64_t key, uint64_t n, uint64_t base=1, uint64_t before_n=0, uint64_t before_base=0):
        self.plan = scrub_plan(key=key, n=n, base=base, before_n=before_n, before_base=before_base)

    def is_due(self, uint64_t cycle, uint64_t block):
        return bool(is_due(&self.plan, cycle, block))

    def generation(self, uint64_t cycle, uint64_t block, bint is_passed):
        return generation_of(&self.plan, cycle, block, is_passed)
