# Whether the device behind an open descriptor was removed. Of a SCSI disk, an NVMe namespace and a virtio disk (Linux
# 6.12) reads then end at once with 0 bytes, writes with ENOSPC, fsync with EIO: nothing says ENODEV, but its size is 0.


from libc.stdint cimport uint64_t

cdef extern from "<linux/fs.h>" nogil:
    unsigned long BLKGETSIZE64

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)


cdef inline bint has_gone(int fd) noexcept nogil:
    # The kernel answers from memory: nothing is waited for, as lseek waits for the lock of the inode.
    cdef uint64_t size = 1
    return ioctl(fd, BLKGETSIZE64, &size) == 0 and size == 0
