import os

from setuptools import Extension, setup

# refmap_debug.h lies in Include of the repository. An extension of your own has a
# copy of it beside its sources.
header = os.path.abspath(os.path.join(os.path.dirname(__file__), '../../../../Include'))

# LEAKY_SCOPES=1: with the macros of refmap_debug.h.
macros = [] if os.environ.get('LEAKY_SCOPES') == '1' else [('REFMAP_NDEBUG', None)]

setup(name='leaky', version='1.0',
      ext_modules=[Extension('leaky', ['leaky.c'], include_dirs=[header],
                             define_macros=macros, extra_compile_args=['-g'])])
