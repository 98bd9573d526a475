"""What the process of a hand-in is kept from. Several layers, because each has holes; together they are a fence, not a proof.

- Limits of the system (``setrlimit``) on memory, computing time, the size of a file and the number of open ones.
- Landlock (Linux 5.13 or later): files outside the allowed folders cannot be opened, whatever code tries, and nothing can be executed.
- A seccomp filter (Linux on x86-64 and 64-bit Arm): no new process, no socket, no signal, no raised limit.
- An audit hook of Python's: the same and more for whatever goes through Python. It works everywhere, but native code passes under it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import struct
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MEMORY = 2 * 2**30  # bytes beyond what the warm worker has already
FILE = 10 * 2**20  # bytes of one file
OPEN = 128  # files open at once

# What Python and its libraries read while they run. Missing ones are left out.
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom", "/proc/cpuinfo",
    "/proc/meminfo", "/sys/devices/system/cpu",
)


def readable() -> list[str]:
    """Return the real paths that a hand-in may read: Python, its libraries, and this package."""
    import torch

    roots = {sys.prefix, sys.base_prefix, *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))}
    roots |= {str(Path(torch.__file__).parents[1]), str(Path(__file__).parents[1]), *_SYSTEM}
    return sorted({os.path.realpath(root) for root in roots if os.path.exists(root)})


def confine(folder: str, roots: Sequence[str], seconds: int) -> list[str]:
    """Confine this process for good: it may write in ``folder`` alone, read ``roots``, compute for ``seconds``. Return the layers in force.

    The process must have one thread. What the kernel does not offer is left out; limits and audit hook are there on Linux and macOS alike.
    """
    _limit(seconds)
    layers = ["limits"]
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out all the same, this process goes first
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which both layers ask for
        layers += ["Landlock"] * _landlock(libc, folder, roots) + ["seccomp"] * _seccomp(libc)
    sys.addaudithook(_audit(folder, tuple(roots)))  # last: it refuses what the lines above need
    return [*layers, "audit hook"]


def _limit(seconds: int) -> None:
    limits = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_FSIZE: FILE, resource.RLIMIT_NOFILE: OPEN, resource.RLIMIT_CORE: 0}
    if os.path.exists("/proc/self/statm"):  # macOS has no such file, and does not enforce the limit either
        limits[resource.RLIMIT_AS] = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


# Landlock: see the kernel's manual, userspace-api/landlock. The numbers of its system calls are the same on all machines. -----------

_EXECUTE, _WRITE, _READ, _LIST, _TRUNCATE, _DEVICE = 1, 2, 4, 8, 1 << 14, 1 << 15


def _landlock(libc: ctypes.CDLL, folder: str, roots: Sequence[str]) -> bool:
    version = libc.syscall(444, None, 0, 1)
    if version < 1:
        return False
    handled = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
    # File rights; from version 4 binding and connecting; from version 6 abstract sockets and signals to processes outside.
    rules = struct.pack("=QQQ", handled, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(444, rules, len(rules), 0)
    if ruleset < 0:
        return False
    try:
        for path in (*roots, folder):
            rights = handled & (~_EXECUTE if path == folder else _READ | _LIST)
            if not os.path.isdir(path):
                rights = handled & (_READ | _WRITE | _TRUNCATE | _DEVICE if path == "/dev/null" else _READ)
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            added = libc.syscall(445, ruleset, 1, struct.pack("=Qi", rights, handle), 0)
            os.close(handle)
            if added:
                return False
        return libc.syscall(446, ruleset, 0) == 0
    finally:
        os.close(ruleset)


# Seccomp: system calls that end in "not permitted", by their numbers on x86-64 and on 64-bit Arm. ---------------------------------

_REFUSED = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "fork": (57, None), "vfork": (58, None),
    "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "setrlimit": (160, 164), "setpriority": (141, 140), "memfd_create": (319, 279), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "open_by_handle_at": (304, 265),
    "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224),
    "clock_settime": (227, 112), "settimeofday": (164, 170), "sethostname": (170, 161),
}
_MACHINES = {"x86_64": (0, 0xC000003E, 56, 302), "aarch64": (1, 0xC00000B7, 220, 261)}  # column, its mark, clone, prlimit64
_CLONE3, _CLONE_THREAD = 435, 0x10000


def _seccomp(libc: ctypes.CDLL) -> bool:
    if platform.machine() not in _MACHINES or sys.maxsize < 2**32:
        return False
    column, mark, clone, prlimit = _MACHINES[platform.machine()]
    load, equal, at_least, some, back = 0x20, 0x15, 0x35, 0x45, 0x06  # the instructions: (code, skip if so, skip if not, number)
    allow, refuse, absent = (back, 0, 0, 0x7FFF0000), (back, 0, 0, 0x50000 | errno.EPERM), (back, 0, 0, 0x50000 | errno.ENOSYS)
    program = [(load, 0, 0, 4), (equal, 1, 0, mark), refuse, (load, 0, 0, 0), (at_least, 0, 1, 0x40000000), refuse]
    # The flags of clone3 lie where no filter can look. Without it the C library falls back to clone, which tells threads from processes.
    program += [(equal, 0, 1, _CLONE3), absent, (equal, 0, 4, clone), (load, 0, 0, 16), (some, 0, 1, _CLONE_THREAD), allow, refuse]
    # Asking for a limit is fine: then the third argument, the new one, is null.
    program += [(equal, 0, 4, prlimit), (load, 0, 0, 32), (equal, 0, 1, 0), allow, refuse]
    for numbers in _REFUSED.values():
        if numbers[column] is not None:
            program += [(equal, 0, 1, numbers[column]), refuse]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in [*program, allow]))
    return libc.prctl(22, 2, struct.pack("@HP", len(program) + 1, ctypes.addressof(code)), 0, 0) == 0  # PR_SET_SECCOMP, a filter


# The audit hook ---------------------------------------------------------------------------------------------------------------

_FAMILIES = {"socket", "subprocess", "pty", "ctypes", "gc", "resource", "sqlite3", "syslog", "fcntl"}
_EVENTS = {
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill", "os.killpg",
    "os.chdir", "os.link", "os.symlink", "signal.pthread_kill", "sys._current_frames", "sys._current_exceptions",
    "cpython.PyInterpreterState_New",
}
_READS = {"os.listdir", "os.scandir", "os.getxattr", "os.listxattr"}
_WRITES = {"os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.setxattr"}
# Other interpreters in this process would not have the hook.
_MODULES = {"_xxsubinterpreters", "_interpreters", "_testcapi", "_testinternalcapi"}


def _audit(folder: str, roots: tuple[str, ...]) -> Callable[[str, tuple], None]:
    """Return a hook that refuses what a hand-in must not do.

    It calls nothing that a hand-in could replace: what it needs is bound here, and functions of the library, such as ``os.path.realpath``,
    are left out, because they are made of others. Links cannot be made, so that a path without its dots is where it points to.
    """
    kind, text, data, fsdecode_errors = type, str, bytes, "surrogateescape"
    number, tuple_of, refusal = int, tuple, PermissionError
    families, events, reads, writes, modules = map(frozenset, (_FAMILIES, _EVENTS, _READS, _WRITES, _MODULES))
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def within(path: Any, places: tuple[str, ...]) -> bool:
        if kind(path) is data:
            path = path.decode("utf-8", fsdecode_errors)
        if kind(path) is not text:
            return path is None or kind(path) is number  # the current folder, or a file that is open already
        parts: list[str] = []
        for part in (path if path[:1] == "/" else folder + "/" + path).split("/"):
            if part == "..":
                del parts[-1:]
            elif part and part != ".":
                parts.append(part)
        plain = "/" + "/".join(parts)
        for place in places:
            if plain == place or plain.startswith(place + "/"):
                return True
        return False

    own, anything = tuple_of((folder,)), (*roots, folder)

    def hook(event: str, arguments: tuple) -> None:
        refused = event in events or event.split(".", 1)[0] in families
        if event == "open":
            path, _, flags = arguments
            places = own if kind(flags) is number and flags & writing else anything
            refused = not within(path, places) and path != "/dev/null"
        elif event in reads:
            refused = not within(arguments[0], anything)
        elif event in writes:
            refused = not within(arguments[0], own) or event == "os.rename" and not within(arguments[1], own)
        elif event == "import":
            name, file = arguments[:2]
            refused = name in modules or file is not None and not within(file, roots)
        if refused:
            raise refusal(f"the grader does not allow {event}")

    return hook
