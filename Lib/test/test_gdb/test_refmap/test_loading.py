"""From where the commands are loaded, and where there is nothing to read."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import unittest
from test.support import os_helper

from .support import (HOOKS, PACKAGE, Program, RefmapTestCase, SCRIPT, Session,
                      setUpModule, tearDownModule)


class PlainTests(RefmapTestCase):
    """Without libpython.py, and without a map."""

    def test_sourced_by_hand(self):
        program = Program()
        self.addCleanup(program.remove)
        session = Session(
            Program.STOP,
            ['py-refmap obj', 'py-refmap-refs obj', 'py-refmap'],
            '-iex', 'set auto-load python-scripts off', '--args',
            sys.executable, '-S', '-E', *program.args, load=SCRIPT)
        self.assertEqual(session['py-refmap obj'].field('value'),
                         f'<Victim at {program.facts["victim"]:#x}>')
        self.assertEqual(session['py-refmap'].field('exact'), 'yes')

    def test_loaded_with_the_interpreter(self):
        session = Session([], ['py-refmap', 'help py-refmap'], sys.executable)
        self.assertIn('There is no process', session['py-refmap'].error)
        self.assertIn('Usage:', session['help py-refmap'].output)

    def test_every_command_has_help(self):
        names = [f'py-refmap{name}' for name in
                 ('', '-types', '-top', '-objects', '-snapshots', '-diff',
                  '-verify', '-refs', '-who', '-watch', '-break-birth',
                  '-break-negative')]
        session = Session([], [f'help {name}' for name in names]
                          + [f'{name} --nonsense 1' for name in names],
                          load=SCRIPT)
        for name in names:
            self.assertIn(f'Usage: {name}', session[f'help {name}'].output)
            self.assertIn('There is no option --nonsense.',
                          session[f'{name} --nonsense 1'].error)

    def test_no_interpreter(self):
        program = shutil.which('sleep')
        if program is None:
            self.skipTest('there is no program sleep')
        session = Session(['starti'], ['py-refmap', 'py-refmap 0x1000',
                                       'py-refmap-break-negative'],
                          '--args', program, '1', load=SCRIPT)
        self.assertEqual(session['py-refmap'].error,
                         'There are no symbols of a Python interpreter here.')

    def test_stock_interpreter(self):
        for name in 'python3', 'python':
            program = shutil.which(name, path='/usr/bin:/usr/local/bin:/bin')
            if program:
                break
        else:
            self.skipTest('no other Python interpreter is installed')
        session = Session(['starti'], ['py-refmap'], '--args', program,
                          load=SCRIPT)
        message = session['py-refmap'].error
        if 'no symbols' in message:
            self.skipTest('the installed interpreter has no symbols')
        self.assertEqual(message, 'This interpreter keeps no refcount map: it '
                                  'was not configured --with-refcount-map.')

    def test_stripped_interpreter(self):
        if shutil.which('strip') is None:
            self.skipTest('there is no program strip')
        with os_helper.temp_dir() as directory:
            program = os.path.join(directory, 'python')
            subprocess.run(['strip', '--strip-debug', '-o', program,
                            sys.executable], check=True)
            session = Session(['starti'], ['py-refmap'], program,
                              load=SCRIPT)
        self.assertIn('its debug information is missing',
                      session['py-refmap'].error)


# What the commands say where no process is.
NO_PROCESS = ('There is no process: run the program, attach to it, or open a '
              'core dump.')


class LoadingTests(RefmapTestCase):
    """From where the commands are loaded, and from where they are not."""

    # Asks what was loaded, and from where.
    MODULES = ("python print([getattr(module, '__file__', None) "
               "for name, module in sorted(sys.modules.items()) "
               "if name.partition('.')[0] == 'refmap_gdb'])")

    def loaded(self, session):
        """Return the files of the package that are loaded."""
        self.assertEqual(session['py-refmap'].error, NO_PROCESS)
        return ast.literal_eval(session[self.MODULES].output)

    def open(self, *program, **options):
        return Session(['python import sys'], [self.MODULES, 'py-refmap'],
                       *program, **options)

    def assert_from(self, folder, files):
        self.assertGreater(len(files), 20)
        for file in files:
            self.assertTrue(file.startswith(folder + os.sep), file)

    def test_with_the_interpreter(self):
        self.assert_from(PACKAGE, self.loaded(self.open(sys.executable)))

    def test_source_tree(self):
        folder = os.path.join(sysconfig.get_config_var('srcdir') or '',
                              'Tools', 'gdb', 'refmap_gdb')
        if not os.path.exists(folder + '.py'):
            self.skipTest('there is no source tree')
        folder = os.path.realpath(folder)
        self.assert_from(folder,
                         self.loaded(self.open(load=folder + '.py')))

    def test_relative_name(self):
        with os_helper.change_cwd(os.path.dirname(SCRIPT)):
            session = self.open(load='refmap_gdb.py')
        self.assert_from(PACKAGE, self.loaded(session))

    def test_twice(self):
        session = Session(['python import sys', f'source {SCRIPT}'],
                          [self.MODULES, 'py-refmap'], sys.executable,
                          load=SCRIPT)
        self.assert_from(PACKAGE, self.loaded(session))
        self.assertEqual(session.stderr.strip(), '')

    def test_path_with_spaces(self):
        with os_helper.temp_dir() as directory:
            folder = os.path.join(os.path.realpath(directory), 'a  b')
            shutil.copytree(PACKAGE, os.path.join(folder, 'refmap_gdb'))
            shutil.copy(SCRIPT, folder)
            shutil.copy(HOOKS, folder)
            session = self.open(load=os.path.join(folder,
                                                  os.path.basename(HOOKS)))
        self.assert_from(os.path.join(folder, 'refmap_gdb'),
                         self.loaded(session))

    def test_hostile_working_directory(self):
        names = {os.path.splitext(name)[0] for name in os.listdir(PACKAGE)}
        names |= {'refmap_gdb', 'libpython', 'python-gdb'} - {'__init__'}
        with os_helper.temp_dir() as directory:
            evil = 'print("EVIL", __file__)\nraise SystemExit\n'
            os.mkdir(os.path.join(directory, 'refmap_gdb'))
            for name in names:
                for folder in '', 'refmap_gdb':
                    with open(os.path.join(directory, folder, f'{name}.py'),
                              'w') as file:
                        file.write(evil)
            with os_helper.change_cwd(directory):
                path = '-iex', 'python sys.path[:0] = ["", ' \
                               f'{directory!r}]'
                for program, load in [(sys.executable, None), ('', SCRIPT)]:
                    args = path + ((program,) if program else ())
                    session = self.open(*args, load=load, PYTHONPATH=directory)
                    self.assert_from(PACKAGE, self.loaded(session))
                    self.assertNotIn('EVIL', session.stdout + session.stderr)

    def test_nothing_is_left(self):
        """No name in the namespace that all scripts of gdb share, and no
        file."""
        names = "python print(sorted(globals().keys() - {'names'}))"
        session = Session([], [names, f'source {SCRIPT}', names + ' '])
        self.assertEqual(session[names].output, session[names + ' '].output)
        self.assertNotIn('refmap_gdb', session[names + ' '].output)
        for folder, folders, _ in os.walk(PACKAGE):
            self.assertNotIn('__pycache__', folders)

    def test_package_is_missing(self):
        with os_helper.temp_dir() as directory:
            shutil.copy(SCRIPT, directory)
            hooks = shutil.copy(HOOKS, directory)
            session = Session([f'source {hooks}'], ['help py-bt'])
        self.assertRegex(session.stderr, r'\AThere are no py-refmap commands: '
                                         r'.* is missing\.\n\Z')
        self.assertIn('python frame', session['help py-bt'].output)

    def test_layers(self):
        """Each module imports from those before it in the list that the
        package begins with."""
        with open(os.path.join(PACKAGE, '__init__.py')) as file:
            doc = ast.get_docstring(ast.parse(file.read()))
        order = []
        for line in doc.split('it:\n')[1].splitlines():
            names = re.match(r'  ([a-z_]+(?:, [a-z_]+)*)  ', line)
            order += names[1].split(', ') if names else []
        found = {name.removesuffix('.py') for name in os.listdir(PACKAGE)}
        self.assertEqual(sorted(order), sorted(found - {'__init__'}))
        order.append('commands')
        for folder, _, files in os.walk(PACKAGE):
            for name in files:
                with open(os.path.join(folder, name)) as file:
                    tree = ast.parse(file.read())
                self.check_imports(order, folder, name, tree)

    def check_imports(self, order, folder, name, tree):
        inside = os.path.basename(folder) == 'commands'
        own = 'commands' if inside else name.removesuffix('.py')
        if own == '__init__':
            return
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.level <= inside:
                continue
            self.assertLess(order.index(node.module), order.index(own),
                            f'{name} imports from {node.module}')


class InstalledTests(RefmapTestCase):
    """An interpreter that "make install" put somewhere."""

    def make(self, *arguments):
        folder = os.path.dirname(sys.executable)
        if not (shutil.which('make')
                and os.path.exists(os.path.join(folder, 'Makefile'))):
            self.skipTest('this interpreter can not be installed')
        # What runs this test is not to be built anew.
        subprocess.run(['make', '-s', '-o', os.path.basename(sys.executable),
                        *arguments], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)

    def test_installed(self):
        program = Program('hash(print)')
        self.addCleanup(program.remove)
        prefix = os.path.realpath(program.path('prefix'))
        # The library and what compiles it take minutes, and gdb none of it.
        self.make(f'prefix={prefix}', 'altbininstall', 'refmap_gdbinstall')
        version = sysconfig.get_config_var('LDVERSION')
        os.makedirs(os.path.join(prefix, 'lib'), exist_ok=True)
        os.symlink(os.path.dirname(os.__file__),
                   os.path.join(prefix, 'lib', 'python%d.%d'
                                % sys.version_info[:2]))
        folder = os.path.join(prefix, 'share', 'gdb', f'python{version}')
        for name in {version, '%d.%d' % sys.version_info[:2]}:
            with self.subTest(name=name):
                python = os.path.join(prefix, 'bin', f'python{name}')
                self.check(python, folder, program)

    def test_script(self):
        """The script that make calls in the build directory."""
        tools = os.path.join(sysconfig.get_config_var('srcdir') or '',
                             'Tools', 'gdb')
        script = os.path.join(os.path.abspath(tools), 'install_refmap_gdb')
        if not os.path.exists(script):
            self.skipTest('there is no source tree')

        def install(directory, config):
            with open('pyconfig.h', 'w') as file:
                file.write(config)
            return subprocess.run(['sh', script, directory], text=True,
                                  stderr=subprocess.PIPE)
        on = '#define Py_REFCOUNT_MAP 1\n'
        with os_helper.temp_cwd():
            # Without a map there is nothing to install.
            result = install('to', '/* #undef Py_REFCOUNT_MAP */\n')
            self.assertEqual((result.returncode, result.stderr), (0, ''))
            self.assertFalse(os.path.exists('to'))
            # Modules that are gone do not stay.
            os.makedirs('to/refmap_gdb/commands')
            stale = 'to/refmap_gdb/commands/stale.py'
            open(stale, 'w').close()
            result = install('to', on)
            self.assertEqual((result.returncode, result.stderr), (0, ''))
            self.assertFalse(os.path.exists(stale))
            for name in 'refmap_gdb.py', 'refmap_gdb/commands/base.py':
                with open(f'to/{name}') as a, open(f'{tools}/{name}') as b:
                    self.assertEqual(a.read(), b.read())
            # Where they come from, nothing is removed.
            shutil.copytree('to', 'source')
            script = shutil.copy(script, 'source')
            result = install('source', on)
            self.assertEqual(result.returncode, 1)
            self.assertIn('is where the commands come from', result.stderr)
            self.assertTrue(os.path.exists('source/refmap_gdb/maps.py'))

    def check(self, python, folder, program):
        session = Session(
            Program.STOP,
            ['py-refmap', 'py-refmap obj', LoadingTests.MODULES],
            '-iex', f'add-auto-load-safe-path {os.path.dirname(folder)}',
            '-iex', 'python import sys', '--args', python, '-S', '-E',
            program.script)
        self.assertEqual(session['py-refmap'].field('exact'), 'yes')
        # In the words of libpython.py.
        self.assertIn('<built-in method print of module object',
                      session['py-refmap obj'].field('value'))
        files = ast.literal_eval(session[LoadingTests.MODULES].output)
        self.assertTrue(files)
        for file in files:
            self.assertTrue(file.startswith(folder + os.sep), file)


if __name__ == '__main__':
    unittest.main()
