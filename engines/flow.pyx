"""Jobs that share a flow start I/Os in proportion to their weights.

A page of shared memory holds a count for each job and their sum. A job whose count is more than its weight's share
of the sum waits. One that ends takes its weight and its count out of the sums, so that the others keep their own
proportion; one that joins late is given its share of what has been, so that they need not wait for it to catch up.
"""

import os

from libc.errno cimport errno as c_errno
from libc.stdint cimport uint32_t, uint64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

cdef enum:
    FLOW_MAGIC = 0x776F6C66  # "flow"


cdef int flow_attach(flow *self, FlowPage page, uint32_t place, uint64_t weight, uint64_t sleep_us) except -1:
    """Join a flow when the job's I/O is about to start. The page must outlive `self`. IndexError without the place."""
    cdef uint64_t others, share = 0
    self.place = page.place(place)
    self.page = page.page
    self.weight = weight
    self.sleep_ns = 1000 * sleep_us if sleep_us else <uint64_t>FLOW_LOOK_NS
    others = flow_get(&self.page.weight)
    if others:
        share = flow_get(&self.page.ios) * weight // others
    self.place.ios = share
    flow_add(&self.page.ios, share)
    flow_add(&self.place.weight, weight)
    flow_add(&self.page.weight, weight)
    return 0


cdef void flow_leave(flow *self) noexcept nogil:
    """The job starts no more I/O."""
    if self.page != NULL:
        vacate(self.page, self.place)
        self.page = NULL


cdef void vacate(flow_page *page, flow_place *place) noexcept nogil:
    # Whoever takes the weight takes the rest: a job that ends and the agent that buries it may both come here.
    cdef uint64_t weight = flow_take(&place.weight)
    if weight:
        flow_add(&page.weight, -weight)
        flow_add(&page.ios, -flow_get(&place.ios))


cdef class FlowPage:
    """What the jobs of one flow know of each other: made by the agent (`create`), attached by each job (`attach`)."""

    def __cinit__(self):
        self.page = NULL
        self.fd = -1

    def __dealloc__(self):
        self.close()

    @classmethod
    def create(cls, uint32_t places):
        """A page in shared memory with a place for each job. Raises OSError."""
        cdef FlowPage self = cls.__new__(cls)
        self.fd = os.memfd_create("iovigil-flow", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, sizeof(flow_page) + places * sizeof(flow_place))
        self.map()
        self.page.places = places
        self.page.magic = FLOW_MAGIC
        return self

    @classmethod
    def attach(cls, int fd):
        """The page behind a descriptor, which now belongs to this object. ValueError if it is none of ours."""
        cdef FlowPage self = cls.__new__(cls)
        self.fd = fd
        if os.fstat(fd).st_size < sizeof(flow_page):
            raise ValueError("flow page: too short to be one")
        self.map()
        if (self.page.magic != FLOW_MAGIC
                or self.size != sizeof(flow_page) + self.page.places * sizeof(flow_place)):
            raise ValueError("flow page: another layout; agent and engines are of different versions")
        return self

    cdef int map(self) except -1:
        cdef void *address
        self.size = os.fstat(self.fd).st_size
        address = mmap(NULL, self.size, PROT_READ | PROT_WRITE, MAP_SHARED, self.fd, 0)
        if address == MAP_FAILED:
            raise OSError(c_errno, os.strerror(c_errno), "flow page")
        self.page = <flow_page *>address
        return 0

    cdef flow_place *place(self, uint32_t index) except NULL:
        if self.page == NULL or index >= self.page.places:
            raise IndexError(f"flow page: there is no place {index}")
        return &self.page.place[index]

    cpdef leave(self, uint32_t place):
        """Take a job out that has gone, in whatever way; nothing happens when it had left of itself."""
        vacate(self.page, self.place(place))

    def ios(self, uint32_t place):
        """I/Os that count for a job."""
        return flow_get(&self.place(place).ios)

    def fileno(self):
        return self.fd

    cpdef close(self):
        """Give the memory back; using the page afterwards is an error of the caller."""
        if self.page != NULL:
            munmap(self.page, self.size)
            self.page = NULL
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


cdef class Flow:
    """One job's part in a flow: for tests."""

    cdef flow flow
    cdef FlowPage page

    def __cinit__(self, FlowPage page not None, uint32_t place, uint64_t weight):
        self.page = page
        flow_attach(&self.flow, page, place, weight, 0)

    def is_ahead(self):
        return flow_is_ahead(&self.flow)

    def note(self):
        flow_note(&self.flow)

    def leave(self):
        flow_leave(&self.flow)
