"""Runs a command where io_uring is forbidden by a seccomp filter, as in most containers.

Run as `without_io_uring.py COMMAND...`; what the command starts inherits the filter.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
BPF_LOAD_WORD, BPF_JUMP_IF_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
IO_URING_SETUP = 425  # on every architecture

# code, where to jump if true, if false, operand; the word at offset 0 is the number of the system call
PROGRAM = (
    (BPF_LOAD_WORD, 0, 0, 0),
    (BPF_JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
    (BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.EPERM),
    (BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW),
)


class Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


def forbid_io_uring() -> None:
    """Raises OSError where the kernel takes no filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = Filter(len(PROGRAM), b"".join(struct.pack("=HBBI", *instruction) for instruction in PROGRAM))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    forbid_io_uring()
    os.execv(sys.argv[1], sys.argv[1:])
