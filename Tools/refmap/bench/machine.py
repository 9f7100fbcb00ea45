"""What machine a benchmark ran on, and who else used it meanwhile. Linux only;
elsewhere the answers are None."""

import glob
import os
import platform
import resource
import subprocess
import time


def read(path):
    """The text of a file, or '' if there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ''


def field(text, name):
    """The value of the first line 'name: value', or None."""
    for line in text.splitlines():
        key, colon, value = line.partition(':')
        if colon and key.strip() == name:
            return value.strip()
    return None


def memory(name):
    """MemTotal, MemAvailable ... in bytes, or None."""
    value = field(read('/proc/meminfo'), name)
    return int(value.split()[0]) * 1024 if value else None


def shortage(what, needed, available=None):
    """A sentence, if needed bytes are more than are available now (by default
    what the system says), else None."""
    available = available or memory('MemAvailable')
    if available is None or needed <= available:
        return None
    return (f'{what}: {needed >> 20:,} MiB may be needed, '
            f'{available >> 20:,} MiB are free')


def caches():
    """{'L2': bytes} of the first core, instruction caches left aside."""
    sizes = {}
    for path in sorted(glob.glob('/sys/devices/system/cpu/cpu0/cache/index*')):
        size = read(path + '/size').strip()
        if size.endswith('K') and read(path + '/type') != 'Instruction\n':
            level = read(path + '/level').strip()
            sizes['L' + level] = int(size[:-1]) * 1024
    return sizes


def commit(directory):
    """The short name of the checked-out commit, with + after local changes to
    files that git knows, or None."""
    def git(*args):
        return subprocess.run(('git', '-C', directory) + args, text=True,
                              capture_output=True, check=True).stdout.strip()
    try:
        changed = git('status', '--porcelain', '--untracked-files=no')
        return git('rev-parse', '--short', 'HEAD') + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return None


def describe(directory):
    """A JSON-able description of this machine, now."""
    return {
        'model': field(read('/proc/cpuinfo'), 'model name')
                 or platform.processor() or platform.machine(),
        'cores': os.cpu_count(),
        'memory': memory('MemTotal'),
        'caches': caches(),
        'system': f'{platform.system()} {platform.release()}',
        'compiler': platform.python_compiler(),
        'python': platform.python_version(),
        'commit': commit(directory),
        'date': time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime()),
        'load': os.getloadavg()[0],
    }


class Watch:
    """Measures which share of the machine's CPU time goes to other processes.

    busy() is the share, 0 to 1, of others since the watch was made, and stolen()
    that of other virtual machines on the same host; None where unknown.
    """

    def __init__(self):
        self.start = self.ticks()
        self.own_start = self.own()

    @staticmethod
    def ticks():
        """user nice system idle iowait irq softirq steal, in clock ticks."""
        words = read('/proc/stat').split()
        return [int(word) for word in words[1:9]] if words else None

    @staticmethod
    def own():
        """Clock ticks of this process and of its children that ended."""
        seconds = 0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            seconds += usage.ru_utime + usage.ru_stime
        return seconds * os.sysconf('SC_CLK_TCK')

    def shares(self):
        if self.start is None:
            return None, None
        spent = [now - then for now, then in zip(self.ticks(), self.start)]
        total = sum(spent) or 1
        idle, waiting, stolen = spent[3], spent[4], spent[7]
        busy = total - idle - waiting - stolen
        others = max(0, busy - (self.own() - self.own_start))
        return others / total, stolen / total

    def busy(self):
        return self.shares()[0]

    def stolen(self):
        return self.shares()[1]


def busy_now(seconds=2):
    """The share of the CPU time that others use while this process sleeps."""
    watch = Watch()
    time.sleep(seconds)
    return watch.busy()
