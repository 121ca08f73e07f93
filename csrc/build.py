"""Build script of the extension `broker._core`: the data plane behind cffi's API mode.

cffi reads the declarations between the markers of `spline.h`; the C compiler reads the header itself, so the two cannot drift
apart. Only a C compiler and libc are needed.
"""

from pathlib import Path

from cffi import FFI

ROOM = Path(__file__).resolve().parent
SOURCES = sorted(str(p.relative_to(ROOM.parent)) for p in ROOM.glob("*.c"))


def declarations() -> str:
    """The part of spline.h that cffi may read."""
    text = (ROOM / "spline.h").read_text()
    return text.split("/* cdef-begin */")[1].split("/* cdef-end */")[0]


ffibuilder = FFI()
ffibuilder.cdef(declarations())
ffibuilder.set_source(
    "broker._core",
    '#include "spline.h"',
    sources=SOURCES,
    include_dirs=[str(ROOM)],
    extra_compile_args=[
        "-std=c11",
        "-D_GNU_SOURCE",
        "-O3",
        "-fno-plt",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
    ],
    extra_link_args=["-Wl,-O1"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
