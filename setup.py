"""What pyproject.toml cannot say: the compiled modules."""

import os

from Cython.Compiler import Errors, Options

# A performance hint names a call that takes the GIL where nothing may: 22 ns instead of 1. It fails the build.
# Set before anything else of Cython binds the name.
Errors.performance_hint = lambda position, message, _env: Errors.error(position, message)
Options.fast_fail = True

from Cython.Build import cythonize  # noqa: E402
from setuptools import setup  # noqa: E402

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "cdivision": True,
    "initializedcheck": False,
    "wraparound": False,
}
# The set-up installs the package first and compiles in place afterwards, once and incrementally.
IS_PURE = bool(os.environ.get("IOVIGIL_WITHOUT_EXTENSIONS"))

setup(ext_modules=[] if IS_PURE else cythonize("src/**/*.pyx", nthreads=0, compiler_directives=DIRECTIVES))
