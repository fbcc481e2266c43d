"""Compiles the engine beside it, for the iovigil that is installed: `python setup.py build_ext --inplace`."""

from Cython.Build import cythonize
from setuptools import setup

setup(ext_modules=cythonize("compiled_engine.pyx", language_level=3))
