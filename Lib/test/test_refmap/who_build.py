"""Builds extensions that misbehave, for the interpreter that runs."""

import importlib.machinery
import importlib.util
import os
import shlex
import shutil
import subprocess
import sysconfig

SOURCES = os.path.join(os.path.dirname(__file__), 'misbehaving')

# Without frame pointers the stack is followed by call frame information, in the
# section .eh_frame; without that it ends there.
POINTERS = '-fno-omit-frame-pointer'
NO_POINTERS = '-fomit-frame-pointer'
NO_TABLES = '-fno-asynchronous-unwind-tables'
# Of equal code of two functions the compiler keeps that of one, under its name,
# which no stack can tell; see Doc/who.md. In debug builds none is equal: each
# Py_DECREF() has its line in it.
UNFOLDED = [] if sysconfig.get_config_var('Py_DEBUG') else ['-fno-ipa-icf']

# How extensions are built: the compiler's language and what is added to the
# interpreter's own flags.
WAYS = {
    'C': ('c', [POINTERS]),
    'C without frame pointers': ('c', ['-O2', NO_POINTERS, *UNFOLDED]),
    'C without frame information': ('c', ['-O2', NO_POINTERS, NO_TABLES]),
    'C++': ('c++', [POINTERS]),
    'C++ without frame pointers': ('c++', ['-O2', NO_POINTERS, *UNFOLDED]),
    # As code for processors whose vectors are longer than 16 bytes.
    'C++ that aligns its stack': ('c++', ['-O2', NO_POINTERS, '-mstackrealign',
                                          '-mincoming-stack-boundary=3',
                                          '-mforce-drap']),
}


def compiler(language):
    """Return the command of a compiler as a list; None if there is none."""
    command = shlex.split(
        sysconfig.get_config_var('CXX' if language == 'c++' else 'CC') or '')
    # As installed; ccache is no compiler.
    return command if command and shutil.which(command[0]) else None


def own_flags(language):
    """Return the flags that the interpreter builds extensions with."""
    flags = shlex.split(sysconfig.get_config_var('CFLAGS') or '')
    if language == 'c++':
        flags = [flag for flag in flags if not flag.startswith('-std=')
                 and 'prototypes' not in flag and 'implicit-function' not in flag]
    return ['-g', '-fPIC', *flags]


def includes():
    directories = [sysconfig.get_path('include'), sysconfig.get_path('platinclude'),
                   os.path.dirname(sysconfig.get_config_h_filename())]
    return [f'-I{directory}' for directory in directories]


def build(source, way, directory):
    """Compile a file of SOURCES; return the path of the extension.

    None: there is no compiler for that. Raise AssertionError with the compiler's
    messages if it fails.
    """
    language, options = WAYS[way]
    command = compiler(language)
    if command is None:
        return None
    name = os.path.splitext(source)[0]
    where = os.path.join(directory, way.replace(' ', '_').replace('+', 'p'))
    os.makedirs(where, exist_ok=True)
    target = os.path.join(where, name + sysconfig.get_config_var('EXT_SUFFIX'))
    if os.path.exists(target):
        return target
    done = subprocess.run(
        [*command, '-x', language, *own_flags(language), *options, '-shared',
         *includes(), os.path.join(SOURCES, source), '-o', target, '-lpthread'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(done.stdout)
    return target


def load(path):
    """Return the extension module at a path, as often as it is asked for it."""
    name = os.path.basename(path).partition('.')[0]
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_loader(name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
