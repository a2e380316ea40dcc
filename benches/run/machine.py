"""What all the benches stand on: programs that stop with the run, a disk that is one, and CPU that others use."""

import argparse
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Not disks: what is durable on these is gone with the power.
NO_DISK = {"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"}

_running = []


def fail(why):
    sys.exit(f"bench: {why}")


def start(command, **more):
    """Starts a program that is stopped, at the latest, with this one."""
    child = subprocess.Popen([str(part) for part in command], **more)
    _running.append(child)
    return child


def stop(child, signal_number=signal.SIGTERM, patience=30):
    """Stops a program that `start` started."""
    if child.poll() is None:
        child.send_signal(signal_number)
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child in _running:
        _running.remove(child)


def _stop_all():
    for child in reversed(list(_running)):
        stop(child, patience=10)


# So that whoever stops the bench stops what it started too.
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, lambda *_: sys.exit(143))


def run(command, **more):
    """What a program says, where it ends well."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        fail(f"{' '.join(str(part) for part in command[:3])} ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
    return done.stdout


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def file_system(path):
    """The kind of file system under a path."""
    best = ("", "?")
    path = str(Path(path).resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        at, kind = line.split()[1:3]
        inside = path == at or path.startswith(at.rstrip("/") + "/")
        if inside and len(at) >= len(best[0]):
            best = (at, kind)
    return best[1]


def sync_times(folder, count=200):
    """How long one write of 4 KiB with fdatasync takes there: median and 99th percentile, in milliseconds."""
    path, times = Path(folder) / "sync", []
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for at in range(count):
            began = time.perf_counter()
            os.pwrite(file, b"x" * 4096, at * 4096)
            os.fdatasync(file)
            times.append((time.perf_counter() - began) * 1e3)
    finally:
        os.close(file)
        path.unlink()
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def parser(doc, programs):
    """The options that all benches have; `programs` is what they run."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    options.add_argument("--programs", type=Path, default=target / "release", help=f"where {', '.join(programs)} are")
    options.add_argument("--target", type=Path, default=target, help="where work and results go")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--seconds", type=float, default=5.0, help="for how long each run is measured")
    options.add_argument("--trial", action="store_true", help="on any file system, for a moment: whether it works, no figures")
    return options


def built(given, programs):
    """Where the programs are, once it is known that they are."""
    given.programs = given.programs.resolve()
    for name in programs:
        if not (given.programs / name).exists():
            fail(f"{given.programs / name} is not built: cargo build --release --bins --example load")


def busy_cores(seconds=0.7):
    """How many cores of the machine are in use."""
    def ticks():
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        return sum(fields[at] for at in (0, 1, 2, 5, 6, 7))

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def resident(pid):
    """The memory that a process holds, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def taken(folder):
    """Bytes on disk under a folder."""
    total = 0
    for at, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(at, name)).st_blocks * 512
            except OSError:
                pass
    return total


def syncs_during(pid, work, trace):
    """How many fsync and fdatasync calls a process makes while `work` runs; None without strace."""
    if shutil.which("strace") is None:
        return None
    follow = start(["strace", "-f", "-q", "-e", "trace=fsync,fdatasync", "-o", trace, "-p", pid],
                   stderr=subprocess.DEVNULL)
    time.sleep(1)
    if follow.poll() is not None:
        return None
    try:
        done = work()
    finally:
        stop(follow, signal.SIGINT)
    lines = Path(trace).read_text(errors="replace").splitlines()
    calls = sum(1 for line in lines if "sync(" in line and "resumed" not in line)
    return calls / max(done, 1)


class Work:
    """A folder for everything that a run makes, on a real disk; gone with the run."""

    def __init__(self, target, trial=False):
        # Short, since the paths of sockets are.
        self.folder = Path(target) / "bench" / f"w{os.getpid()}"
        self.folder.mkdir(parents=True)
        # What is stopped first is registered last.
        atexit.register(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        atexit.register(_stop_all)
        self.kind = file_system(self.folder)
        if self.kind in NO_DISK and not trial:
            fail(f"{self.folder} lies on {self.kind}, which is no disk; set CARGO_TARGET_DIR to a folder on one")


def load(programs, *arguments):
    """A run of the load tool."""
    return json.loads(run([programs / "examples" / "load", *arguments]).splitlines()[-1])
