# Whether SIGTERM has come: for engines that wait where no loop looks at the page.

cdef bint stop_requested() noexcept nogil
