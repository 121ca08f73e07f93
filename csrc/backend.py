"""The build backend: setuptools' own, told to build the data plane.

cffi hooks into setuptools by the keyword `cffi_modules` of `setup()`, and setuptools takes that keyword from
a `setup.py` only: `pyproject.toml` has no place for it. This module is that one line, as a PEP 517 in-tree
backend.
"""

import setuptools
from setuptools.build_meta import _BuildMetaBackend


class Backend(_BuildMetaBackend):
    """setuptools.build_meta, with the arguments of `setup()` that a `setup.py` would give."""

    def run_setup(self, setup_script: str = "setup.py") -> None:
        """Run the command that the calling hook has put into `sys.argv`."""
        setuptools.setup(cffi_modules=["csrc/build.py:ffibuilder"])


_backend = Backend()
get_requires_for_build_wheel = _backend.get_requires_for_build_wheel
get_requires_for_build_sdist = _backend.get_requires_for_build_sdist
get_requires_for_build_editable = _backend.get_requires_for_build_editable
prepare_metadata_for_build_wheel = _backend.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = _backend.prepare_metadata_for_build_editable
build_wheel = _backend.build_wheel
build_sdist = _backend.build_sdist
build_editable = _backend.build_editable
