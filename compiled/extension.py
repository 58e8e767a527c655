"""The part that runs in the copy: mypyc makes the C, and all processors compile it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mypyc.build import mypycify
from setuptools import setup
from setuptools.command.build_ext import build_ext

from compiled.building import OPTIMISE, PACKAGE, modules

CONFIG = "[mypy]\nstrict = True\nfollow_untyped_imports = True\n"


class InParallel(build_ext):
    """One library of many files: its files are compiled beside each other."""

    def build_extensions(self) -> None:
        """Compile."""
        compiler: Any = self.compiler

        def compile_all(
            sources: list[str], output_dir: str | None = None, macros: Any = None,
            include_dirs: Any = None, debug: bool = False, extra_preargs: Any = None,
            extra_postargs: Any = None, depends: Any = None,
        ) -> list[str]:  # fmt: skip
            macros, objects, extra, options, build = compiler._setup_compile(
                output_dir, macros, include_dirs, sources, depends, extra_postargs
            )
            arguments = compiler._get_cc_args(options, debug, extra_preargs)

            def compile_one(item: tuple[str, tuple[str, str]]) -> None:
                made, (source, suffix) = item
                compiler._compile(made, source, suffix, arguments, extra, options)

            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                list(pool.map(compile_one, build.items()))
            return objects

        compiler.compile = compile_all
        super().build_extensions()


if __name__ == "__main__":
    Path("mypy.ini").write_text(CONFIG)
    setup(
        name=PACKAGE,
        packages=[],
        ext_modules=mypycify(
            ["--config-file=mypy.ini", *(f"{PACKAGE}/{module}" for module in modules())],
            opt_level=OPTIMISE,
            multi_file=True,
            group_name=PACKAGE,
        ),
        cmdclass={"build_ext": InParallel},
    )
