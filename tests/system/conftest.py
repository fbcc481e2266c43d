"""Fixtures of the system tests: each one is written where its subject is."""

from agent_process import elsewhere
from fault_disk import fault_disk, faulty_ext4
from fio_and_ours import both, ours, program
from loop import ext4_mount, loop_device

__all__ = ["both", "elsewhere", "ext4_mount", "fault_disk", "faulty_ext4", "loop_device", "ours", "program"]
