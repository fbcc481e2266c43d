# Jobs that share a flow take turns by weight.

from libc.stdint cimport uint32_t, uint64_t

cdef extern from * nogil:
    """
    #ifndef IOVIGIL_FLOW
    #define IOVIGIL_FLOW
    #include <stdint.h>

    /* A line of cache for each job, and one for what all of them change. */
    struct iovigil_flow_place {
        uint64_t weight;  /* 0: nobody is here, or has left */
        uint64_t ios;     /* started by that job, and what it was given on joining late */
        uint64_t unused[6];
    };

    struct iovigil_flow_page {
        uint64_t magic, places;
        uint64_t ios, weight;  /* sums over the places */
        uint64_t unused[4];
        struct iovigil_flow_place place[];
    };

    #define iovigil_flow_get(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define iovigil_flow_add(p, n) __atomic_fetch_add((p), (n), __ATOMIC_RELAXED)
    #define iovigil_flow_take(p) __atomic_exchange_n((p), 0, __ATOMIC_RELAXED)

    /* More I/Os than what the others have started allows by weight, and than a lead: so that nobody waits for
       each single I/O of another. */
    static inline int iovigil_flow_is_over(uint64_t mine, uint64_t all, uint64_t lead, uint64_t weight, uint64_t sum) {
        typedef unsigned __int128 wide;
        uint64_t others = all > mine ? all - mine : 0, rest = sum > weight ? sum - weight : 0;
        return (wide)mine * rest * sum > (wide)others * weight * sum + (wide)lead * weight * rest;
    }
    #endif
    """
    ctypedef struct flow_place "struct iovigil_flow_place":
        uint64_t weight
        uint64_t ios
    ctypedef struct flow_page "struct iovigil_flow_page":
        uint64_t magic
        uint64_t places
        uint64_t ios
        uint64_t weight
        flow_place *place
    uint64_t flow_get "iovigil_flow_get" (const uint64_t *word) noexcept
    uint64_t flow_add "iovigil_flow_add" (uint64_t *word, uint64_t n) noexcept
    uint64_t flow_take "iovigil_flow_take" (uint64_t *word) noexcept
    bint flow_is_over "iovigil_flow_is_over" (uint64_t mine, uint64_t all, uint64_t lead, uint64_t weight,
                                              uint64_t sum) noexcept


cdef enum:
    FLOW_LEAD_IOS = 32  # shared among the jobs by weight
    FLOW_LOOK_NS = 100000


cdef struct flow:
    flow_page *page  # NULL: the job is in no flow
    flow_place *place
    uint64_t weight
    uint64_t sleep_ns  # until another look while the others are behind


cdef inline bint flow_is_ahead(const flow *self) noexcept nogil:
    """Whether the job is to let the others of its flow come first; of them all at least one never is."""
    if self.page == NULL:
        return False
    cdef uint64_t all_ios = flow_get(&self.page.ios)
    # A lead of one in 64: fast jobs need not wait for each other at every step, and the shares stay within 2 %.
    return flow_is_over(flow_get(&self.place.ios), all_ios, max(<uint64_t>FLOW_LEAD_IOS, all_ios >> 6), self.weight,
                        flow_get(&self.page.weight))


cdef inline void flow_note(flow *self) noexcept nogil:
    """The job starts an I/O."""
    if self.page != NULL:
        flow_add(&self.place.ios, 1)
        flow_add(&self.page.ios, 1)


cdef class FlowPage:
    cdef flow_page *page
    cdef uint64_t size
    cdef int fd
    cdef int map(self) except -1
    cdef flow_place *place(self, uint32_t index) except NULL
    cpdef leave(self, uint32_t place)
    cpdef close(self)


cdef int flow_attach(flow *self, FlowPage page, uint32_t place, uint64_t weight, uint64_t sleep_us) except -1
cdef void flow_leave(flow *self) noexcept nogil
