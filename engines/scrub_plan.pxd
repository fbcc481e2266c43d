# Which generation every block of a scrubbed region must hold, by arithmetic alone.

from libc.stdint cimport uint64_t

from iovigil.engines.rng cimport mix


# A cycle goes over all blocks in order. In the cycle `base` it writes all of them; in each later one those whose turn
# it is, one in `n`. What stood there before the base cycle follows from the pair that was in force until then.
cdef struct scrub_plan:
    uint64_t key
    uint64_t n
    uint64_t base
    uint64_t before_n  # 0: nothing of ours stood there
    uint64_t before_base


cdef inline uint64_t turn_of(const scrub_plan *plan, uint64_t block, uint64_t n) noexcept nogil:
    return mix(plan.key + block) % n


cdef inline bint is_due(const scrub_plan *plan, uint64_t cycle, uint64_t block) noexcept nogil:
    """Whether this cycle writes the block."""
    return cycle == plan.base or turn_of(plan, block, plan.n) == cycle % plan.n


cdef inline uint64_t last_turn(const scrub_plan *plan, uint64_t cycle, uint64_t base, uint64_t n,
                               uint64_t block) noexcept nogil:
    """The last cycle up to `cycle`, not before `base`, that wrote the block."""
    cdef uint64_t since = (cycle + n - turn_of(plan, block, n)) % n
    return cycle - since if cycle > base + since else base


cdef inline uint64_t generation_of(const scrub_plan *plan, uint64_t cycle, uint64_t block,
                                   bint is_passed) noexcept nogil:
    """The generation that the block holds while `cycle` goes on; 0 where it may hold anything.

    `is_passed`: the cursor has been there in this cycle.
    """
    if cycle == plan.base:
        if is_passed:
            return cycle
        return last_turn(plan, cycle - 1, plan.before_base, plan.before_n, block) if plan.before_n else 0
    return last_turn(plan, cycle if is_passed else cycle - 1, plan.base, plan.n, block)
