"""Where and as whom a child runs: its user, its CPUs, its memory, its priorities."""

import errno
import os
import resource

from iovigil.engines import process
from iovigil.engines.setup_error import SetupError

MIB = 1 << 20
LEFT_TO_THE_SYSTEM = 128 * MIB
BEST_EFFORT = 2

# Modes of set_mempolicy(2), and whether they take nodes.
POLICIES = {"default": (0, False), "prefer": (1, True), "bind": (2, True), "interleave": (3, True), "local": (4, False)}


def become(uid: int, gid: int, parent_pid: int) -> None:
    """Run as this user and group; -1 stays. What is open stays open. Raises SetupError."""
    if gid >= 0 and os.getresgid() != (gid,) * 3:
        attempt("gid", f"this process, of group {os.getegid()}, cannot become {gid}", os.setresgid, gid, gid, gid)
    if uid >= 0 and os.getresuid() != (uid,) * 3:
        text = f"this process, of user {os.geteuid()}, cannot become {uid}"
        # Who was root keeps nothing of that but what is asked for.
        attempt("uid", text, os.setgroups, [])
        attempt("uid", text, os.setresuid, uid, uid, uid)
    # The kernel forgets the signal at the parent's death with every change of user or group.
    process.die_with_parent(parent_pid)


def cpus_of(cpus: tuple[int, ...], policy: str, nodes: tuple[int, ...], number: int, root: str = "/") -> set[int]:
    """The CPUs for the job of this number (from 1); empty is any. Raises SetupError."""
    allowed = set(cpus)
    if nodes:
        of_nodes = {cpu for node in nodes for cpu in cpus_of_node(node, root)}
        if allowed and not allowed & of_nodes:
            raise SetupError(f"cpus_allowed: {spell(allowed)} has no CPU of numa_cpu_nodes {spell(nodes)}")
        allowed = allowed & of_nodes if allowed else of_nodes
        if not allowed:
            raise SetupError(f"numa_cpu_nodes: {spell(nodes)} has memory but no CPU")
    if allowed and policy == "split":
        # More jobs than CPUs begin with the first again, as in fio.
        return {sorted(allowed)[(number - 1) % len(allowed)]}
    return allowed


def pin(cpus: set[int], option: str) -> None:
    """Run on these CPUs alone. Raises SetupError."""
    # The kernel passes silently over CPUs that are not there, and refuses only when none is left.
    try:
        os.sched_setaffinity(0, cpus)
        missing = cpus - os.sched_getaffinity(0)
    except (OSError, ValueError, OverflowError):
        missing = cpus
    if missing:
        online = read("/sys/devices/system/cpu/online") or "unknown"
        raise SetupError(f"{option}: CPU {spell(missing)} is not to be had; online are {online}")


def cpus_of_node(node: int, root: str = "/") -> set[int]:
    nodes = os.path.join(root, "sys/devices/system/node")
    try:
        with open(f"{nodes}/node{node}/cpulist") as file:
            return numbers(file.read())
    except OSError:
        raise SetupError(f"numa_cpu_nodes: there is no node {node}; there are {online_nodes(root)}") from None


def take_memory(policy: str, nodes: tuple[int, ...], root: str = "/") -> None:
    """Have memory taken from NUMA nodes by this policy. Raises SetupError."""
    mode, has_nodes = POLICIES[policy]
    text = f"{policy} {spell(nodes)}".strip()
    if has_nodes and not nodes:
        raise SetupError(f"numa_mem_policy: {policy} needs nodes, as in {policy}:0")
    if policy == "prefer" and len(nodes) > 1:
        raise SetupError(f"numa_mem_policy: prefer takes one node, not {spell(nodes)}")
    if has_nodes and (missing := set(nodes) - numbers(online_nodes(root))):
        raise SetupError(f"numa_mem_policy: there is no node {spell(missing)}; there are {online_nodes(root)}")
    attempt("numa_mem_policy", text, process.set_memory_policy, mode, nodes if has_nodes else ())


def lock_memory(length: int) -> None:
    """Hold so much memory in RAM, yet leave the system some. Raises SetupError."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") - LEFT_TO_THE_SYSTEM
    length = min(length, most)
    try:
        if length > 0:
            process.lock_memory(length)
    except OSError as problem:
        limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        reason = problem.strerror
        if 0 <= limit < length and problem.errno in (errno.ENOMEM, errno.EPERM, errno.EAGAIN):
            reason = f"this process may lock {limit} (ulimit -l, LimitMEMLOCK=)"
        raise SetupError(f"lockmem: {length} bytes cannot be locked: {reason}") from None


def prioritise_io(prioclass: int, prio: int) -> None:
    """Set the I/O priority. Raises SetupError."""
    # A level without a class is of best effort, as in fio; the idle class has no levels.
    prioclass = prioclass or BEST_EFFORT
    text = f"{prioclass} with prio {prio}"
    attempt("prioclass", text, process.set_io_priority, prioclass, prio)


def renice(increment: int) -> None:
    """Be that much nicer than the agent is. Raises SetupError."""
    attempt("nice", str(increment), os.nice, increment)


def attempt(option, text, call, *arguments) -> None:  # type: ignore[no-untyped-def]
    """Make a system call for the sake of an option. Raises SetupError that names the option."""
    try:
        call(*arguments)
    except (OSError, ValueError, OverflowError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise SetupError(f"{option}: {text}: {reason}") from None


def online_nodes(root: str) -> str:
    return read(os.path.join(root, "sys/devices/system/node/online")) or "none"


def read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def numbers(text: str) -> set[int]:
    """The numbers of a list as the kernel writes it: 0-3,8."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            found.update(range(int(first), int(last or first) + 1))
    return found


def spell(values: tuple[int, ...] | set[int]) -> str:
    return ",".join(map(str, sorted(values)))
