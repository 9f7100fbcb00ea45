"""Build the wheel of pytest-refmap: the hooks that pip calls (PEP 517).

The package refmap is that of this checkout, Lib/refmap.
"""

import base64
import hashlib
import pathlib
import zipfile

NAME, VERSION = 'pytest_refmap', '1.0'
PACKAGE = pathlib.Path(__file__).resolve().parents[3] / 'Lib' / 'refmap'
INFO = f'{NAME}-{VERSION}.dist-info'

# pytest imports by the name of the entry point no plugin of that name that
# -p refmap.pytest_plugin loaded before.
ENTRY_POINTS = '''\
[pytest11]
refmap.pytest_plugin = refmap.pytest_plugin
'''
METADATA = f'''\
Metadata-Version: 2.1
Name: pytest-refmap
Version: {VERSION}
Summary: Find the objects that tests leak, in an interpreter with a refcount map
Requires-Python: >=3.9
Requires-Dist: pytest>=7.2
Classifier: Framework :: Pytest
'''
WHEEL = '''\
Wheel-Version: 1.0
Generator: refmap
Root-Is-Purelib: true
Tag: py3-none-any
'''


def files():
    """Yield (path in the wheel, bytes)."""
    if not (PACKAGE / 'pytest_plugin.py').is_file():
        raise FileNotFoundError(f'{PACKAGE} is not there: pytest-refmap is '
                                'built from a checkout of refmap')
    for path in sorted(PACKAGE.rglob('*.py')):
        yield f'refmap/{path.relative_to(PACKAGE)}', path.read_bytes()
    for name, text in (('METADATA', METADATA), ('WHEEL', WHEEL),
                       ('entry_points.txt', ENTRY_POINTS)):
        yield f'{INFO}/{name}', text.encode()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Make the wheel; return the name of its file."""
    name = f'{NAME}-{VERSION}-py3-none-any.whl'
    record = []
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, 'w',
                         zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
            record.append(f'{path},sha256={digest.decode().rstrip("=")},'
                          f'{len(data)}\n')
            wheel.writestr(path, data)
        record.append(f'{INFO}/RECORD,,\n')
        wheel.writestr(f'{INFO}/RECORD', ''.join(record))
    return name


def build_sdist(sdist_directory, config_settings=None):
    """There is none: the package lies outside of this directory."""
    raise NotImplementedError('pytest-refmap is installed from a checkout')
