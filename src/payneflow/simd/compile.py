"""Compile kernels once per machine and kind of CPU; later processes read the machine code from disk."""

import ast
import fcntl
import hashlib
import os
import time
from functools import cache
from pathlib import Path

import numba
from llvmlite.binding import Linkage
from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.environment import lookup_environment
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

from payneflow.progress import say

PACKAGE = Path(__file__).parents[1]
LONGEST_WAIT = 600.0  # seconds for another process to compile a kernel; if that one hangs, this one does it itself
LOOK_EVERY = 0.1  # seconds


class _CacheFiles(CompileResultCacheImpl):
    """Files named after numba's version too: .venv and .venv-theano have different ones and share these sources."""

    def get_filename_base(self, fullname, abiflags):
        return f"{super().get_filename_base(fullname, abiflags)}.numba{numba.__version__}"


@cache
def _imported(path):
    """Source files of payneflow that the one at `path` imports, wherever in it the import stands."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    parts = [module.split(".")[1:] for module in modules if module.split(".")[0] == PACKAGE.name]
    places = [PACKAGE.joinpath(*names) for names in parts]
    files = [place / "__init__.py" if place.is_dir() else place.with_suffix(".py") for place in places]
    return {file for file in files if file.is_file()}


@cache
def hash_of_sources(path):
    """SHA-256 of a source file and of all files of payneflow that it imports, directly or through others.

    Whatever a kernel calls or closes over stands in one of these: an edit there, and nowhere else, compiles it anew.
    """
    found, fresh = set(), {path}
    while fresh:
        found |= fresh
        fresh = set().union(*map(_imported, fresh)) - found
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(found))).hexdigest()


def _constants(function):
    """What a function closes over, and what the compiled functions among that close over, as one line of text."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    seen = [_constants(value.py_func) if hasattr(value, "py_func") else repr(value) for value in cells]
    return f"{function.__module__}.{function.__qualname__}({', '.join(seen)})"


class _SourceAwareCache(FunctionCache):
    """Numba's cache on disk, whose key knows every source file that the function can depend on.

    Numba's own key pickles what a function closes over; another compiled function pickles differently in each process.
    """

    _impl_class = _CacheFiles
    _turn = None  # descriptor of a file that is locked while this process compiles

    def __init__(self, function):
        super().__init__(function)
        # instead of the time that one source file was written at: entries of other sources are dropped
        self._cache_file._source_stamp = hash_of_sources(Path(function.__code__.co_filename))

    def _index_key(self, signature, codegen):
        sources = hash_of_sources(Path(self._py_func.__code__.co_filename))
        return signature, codegen.magic_tuple(), _constants(self._py_func), sources

    def load_overload(self, signature, target_context):
        compiled = super().load_overload(signature, target_context)
        if compiled is None:
            self._await_turn()
            compiled = super().load_overload(signature, target_context)
        if compiled is None:
            say(f"compiling {self._py_func.__name__} for this kind of processor; this happens once, and takes seconds")
        else:
            self._end_turn()
        return compiled

    def save_overload(self, signature, data):
        super().save_overload(signature, data)
        self._end_turn()

    def _await_turn(self):
        """Wait while another process compiles this kernel: many begin at once, and one is enough."""
        try:
            self._impl.locator.ensure_cache_path()
            path = Path(self._cache_path) / f"{self._impl.filename_base}.lock"
            self._turn = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return  # nothing can be written there, by nobody
        deadline = time.monotonic() + LONGEST_WAIT
        while time.monotonic() < deadline:
            try:
                fcntl.lockf(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except (BlockingIOError, PermissionError):
                time.sleep(LOOK_EVERY)
            except OSError:
                return  # a file system without locks

    def _end_turn(self):
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None


def _named_apart(function):
    """Let the name of a function tell what it closes over.

    Machine code calls its parts by names that numba makes of the function's and of a number that starts anew in each
    process. Of two kernels that were compiled in different processes and are read from disk in one, the parts of one
    size would otherwise have the names of those of another size, and the first of them would serve both.
    """
    if function.__closure__:
        function.__qualname__ += f"_{hashlib.sha256(_constants(function).encode()).hexdigest()[:16]}"
    return function


class _OwnParts(JITCodeLibrary):
    """A kernel's machine code, which calls the copies of its parts that stand in it, and no others of that name."""

    def _finalize_final_module(self):
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                function.linkage = Linkage.internal
        super()._finalize_final_module()
        for name in [variable.name for variable in self._final_module.global_variables]:
            environment = lookup_environment(name)  # a part's, which `_Inside` could not set
            if environment is not None:
                self.codegen.set_env(name, environment)


class _Inside(JITCodeLibrary):
    """The code of a part, optimised, for kernels to take in. It is never run by itself: no machine code is made of it.

    A third of the time that a kernel takes to compile went into machine code of parts and wrappers to call them.
    """

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0

    @property
    def codegen(self):
        return self

    def set_env(self, name, environment):
        """There is no machine code yet that could read it: the kernel sets it."""


class _OnlyForKernels(Lower):
    """Makes the code of a function alone, without the two others by which Python and C would call it."""

    def create_cpython_wrapper(self, release_gil=False):
        pass

    def create_cfunc_wrapper(self):
        pass


class _NotForC(Lower):
    """Makes the code of a function and the one by which Python calls it."""

    def create_cfunc_wrapper(self):
        pass


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):
    _name = "payneflow_part_lowering"
    lowering_class = _OnlyForKernels


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    _name = "payneflow_kernel_lowering"
    lowering_class = _NotForC


class _OurCompiler(Compiler):
    """Numba's compiler with the last of its passes and the library that takes the code replaced."""

    _library, _lowering = None, None

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        if library is None:
            library = self._library(targetctx.codegen(), self._library.__name__)
            library.enable_object_caching()
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)

    def define_pipelines(self):
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [(self._lowering if one is NativeLowering else one, said) for one, said in passes.passes]
        passes.finalize()
        return [passes]


class _PartCompiler(_OurCompiler):
    """For parts as kernels call them."""

    _library, _lowering = _Inside, _PartLowering


class _KernelCompiler(_OurCompiler):
    """For kernels that call their own copies of their parts.

    A part is optimised by itself, and again inside each kernel that calls it; a sum's last bit may then differ between
    the copies. The process that compiles a kernel has them all, and its linker would take the first of a name; a
    process that reads the kernel from disk has the kernel's own. Both now give the bits of the latter.
    """

    _library, _lowering = _OwnParts, _KernelLowering


def kernel(function):
    """Compile `function`, once per machine and kind of CPU; later processes read the machine code from disk."""
    dispatcher = njit(error_model="numpy", nogil=True, pipeline_class=_KernelCompiler)(_named_apart(function))
    dispatcher._cache = _SourceAwareCache(function)
    return dispatcher


def inlined(function):
    """A part of a kernel, inlined into its caller."""
    return _part(function, forceinline=True)


def part(function):
    """A part of a kernel that stays a function of its own."""
    return _part(function)


def _part(function, **options):
    """A function that kernels get as `_PartCompiler` makes it, and that Python, as tests do, can call as well."""
    options |= {"error_model": "numpy", "nogil": True}
    called, inside = njit(**options)(_named_apart(function)), njit(pipeline_class=_PartCompiler, **options)(function)
    called.get_call_template, called.get_overload = inside.get_call_template, inside.get_overload
    return called
