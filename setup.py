from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import setup

Options.fast_fail = True

setup(
    ext_modules=cythonize(
        "src/**/*.pyx",
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
    )
)
