"""Let SIGTERM set the stop word of a stats page, also while the job runs where no Python code does."""

import os

from libc.errno cimport errno
from libc.signal cimport SIGTERM
from libc.stdint cimport uint64_t
from libc.string cimport memset
from posix.signal cimport sigaction, sigaction_t

from iovigil.engines.latency cimport slot_get, slot_set
from iovigil.engines.stats cimport StatsPage

cdef uint64_t *stop_word = NULL


cdef void on_sigterm(int _signum) noexcept nogil:
    slot_set(stop_word, 1)


def stop_on_sigterm(StatsPage page not None):
    """From now on SIGTERM requests a stop, and interrupts what waits. The page must stay mapped."""
    global stop_word
    cdef sigaction_t action
    stop_word = &page.page.stop
    memset(&action, 0, sizeof(action))
    action.sa_handler = on_sigterm
    action.sa_flags = 0  # no SA_RESTART: a wait has to come back with EINTR
    if sigaction(SIGTERM, &action, NULL):
        raise OSError(errno, os.strerror(errno), "sigaction")


cdef bint stop_requested() noexcept nogil:
    return stop_word != NULL and slot_get(stop_word) != 0


def is_stopping():
    """Whether a stop was requested: for what waits in Python, before the job runs."""
    return stop_requested()
