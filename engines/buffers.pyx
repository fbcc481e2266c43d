"""The memory of a job's I/O buffers: where it comes from, how it is aligned."""

import errno
import os

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport errno as c_errno
from libc.stdint cimport intptr_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap,
)

from iovigil.engines.setup_error import SetupError

cdef extern from "<sys/mman.h>" nogil:
    """
    #ifndef MAP_HUGE_SHIFT
    #define MAP_HUGE_SHIFT 26
    #endif
    #ifndef SHM_HUGETLB
    #define SHM_HUGETLB 04000
    #endif
    """
    int MAP_HUGETLB
    int MAP_HUGE_SHIFT

cdef extern from "<sys/shm.h>" nogil:
    int IPC_CREAT
    int IPC_PRIVATE
    int IPC_RMID
    int SHM_HUGETLB
    int shmget(int key, size_t size, int flags)
    void *shmat(int shmid, const void *address, int flags)
    int shmdt(const void *address)
    int shmctl(int shmid, int command, void *buffer)

cdef enum:
    PAGE_BYTES = 4096

cdef enum Kind:
    NONE
    ALLOCATED
    MAPPED
    ATTACHED


cdef class Buffers:
    """`count` buffers of `length` bytes, in memory of the kind that `mem` names; given back with the object."""

    def __cinit__(self, dict options not None, uint64_t length, uint64_t count):
        """Raises SetupError where there is no such memory here, or not so much of it."""
        self.kind = NONE
        align = options["iomem_align"] or PAGE_BYTES
        if align & (align - 1):
            raise SetupError(f"iomem_align: {align} is not a power of two")
        align = max(align, PAGE_BYTES)
        mem = options["mem"]
        huge = huge_page_bytes(options["hugepage_size"]) if mem in ("mmaphuge", "shmhuge") else 0
        # Python's integers: whatever was asked for, this does not overflow.
        stride = (int(length) + align - 1) // align * align
        whole = stride * int(count)
        if align > max(huge, PAGE_BYTES):
            whole += align
        if huge:
            whole = (whole + huge - 1) // huge * huge
        if whole >= 1 << 63:
            raise SetupError(f"IO memory too large: iodepth {count} times bs {length} is more than can be addressed")
        self.stride = stride
        self.size = stride * count
        self.length = whole
        self.take(mem, huge)
        self.address = <char *>((<uintptr_t>self.base + <uintptr_t>(align - 1)) & ~<uintptr_t>(align - 1))

    def __dealloc__(self):
        if self.kind == ALLOCATED:
            free(self.base)
        elif self.kind == MAPPED:
            munmap(self.base, self.length)
        elif self.kind == ATTACHED:
            shmdt(self.base)

    cdef int take(self, str mem, uint64_t hugepage_size) except -1:
        cdef int flags = MAP_ANONYMOUS | (MAP_SHARED if mem == "mmapshared" else MAP_PRIVATE)
        if mem == "malloc":
            # malloc aligns to 16 bytes only.
            self.length += PAGE_BYTES
            self.base = malloc(self.length)
            if self.base == NULL:
                raise SetupError(refusal(mem, self.length, 0, errno.ENOMEM))
            self.kind = ALLOCATED
        elif mem in ("shm", "shmhuge"):
            self.share(mem, IPC_CREAT | 0o600 | (SHM_HUGETLB if mem == "shmhuge" else 0), hugepage_size)
        else:
            if hugepage_size:
                flags |= MAP_HUGETLB | <int>((int(hugepage_size).bit_length() - 1) << MAP_HUGE_SHIFT)
            self.base = mmap(NULL, self.length, PROT_READ | PROT_WRITE, flags, -1, 0)
            if self.base == MAP_FAILED:
                raise SetupError(refusal(mem, self.length, hugepage_size, c_errno))
            self.kind = MAPPED
        return 0

    cdef int share(self, str mem, int flags, uint64_t hugepage_size) except -1:
        cdef int shmid
        if hugepage_size:
            flags |= <int>((int(hugepage_size).bit_length() - 1) << MAP_HUGE_SHIFT)
        shmid = shmget(IPC_PRIVATE, self.length, flags)
        if shmid < 0:
            raise SetupError(refusal(mem, self.length, hugepage_size, c_errno))
        self.base = shmat(shmid, NULL, 0)
        number = c_errno
        # It goes with its last user from now on: nothing of it is left behind by a process that was killed.
        shmctl(shmid, IPC_RMID, NULL)
        if <intptr_t>self.base == -1:
            raise SetupError(refusal(mem, self.length, hugepage_size, number))
        self.kind = ATTACHED
        return 0

    def view(self):
        """All of it, to be looked at while the object lives."""
        return PyMemoryView_FromMemory(self.address, <Py_ssize_t>self.size, PyBUF_WRITE)


cdef object huge_page_bytes(asked):
    """The length of a huge page: as asked for, else the system's own."""
    if asked:
        if asked & (asked - 1):
            raise SetupError(f"hugepage_size: {asked} is not a power of two; {offered()}")
        return asked
    with open("/proc/meminfo") as meminfo:
        for line in meminfo:
            if line.startswith("Hugepagesize:"):
                return int(line.split()[1]) << 10
    raise SetupError("mem: this kernel has no huge pages")


cdef object refusal(mem, length, hugepage_size, number):
    """Why there is none of this memory, and what would help."""
    text = f"mem={mem}: {length} bytes are not to be had: {os.strerror(number)}"
    pages = length // hugepage_size if hugepage_size else 0
    free_pages = read(f"/sys/kernel/mm/hugepages/hugepages-{hugepage_size >> 10}kB/free_hugepages")
    if number == errno.ENOMEM and free_pages.isdecimal() and int(free_pages) < pages:
        return (f"mem={mem}: needs {pages} huge pages of {hugepage_size} bytes, and {free_pages} are free: "
                f"raise vm.nr_hugepages (sysctl), or lower iodepth or bs")
    if hugepage_size and not free_pages:
        return f"mem={mem}: huge pages of {hugepage_size} bytes are not to be had; {offered()}"
    if hugepage_size and number == errno.EPERM:
        return f"{text}; set vm.hugetlb_shm_group to a group of this process"
    if mem == "shm" and number in (errno.EINVAL, errno.ENOSPC):
        return f"{text}; raise kernel.shmmax and kernel.shmall (sysctl)"
    return f"{text}; lower iodepth or bs"


cdef object offered():
    """The lengths of huge pages that this kernel has."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except OSError:
        names = []
    sizes = sorted(int(name[len("hugepages-"):-len("kB")]) << 10 for name in names)
    return f"this kernel has {', '.join(map(str, sizes)) or 'none'}"


cdef object read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
