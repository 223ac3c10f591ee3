"""What a build is asked for: refused where a flavour does not have it, else put into the builder's configuration."""

from __future__ import annotations

import re
from typing import Any

from resnest_edge.backends.base import BuildOptions, given_options
from resnest_edge.backends.tensorrt.flavours import Flavour
from resnest_edge.backends.tensorrt.library import Messages
from resnest_edge.errors import GraphError, UnavailableError, UsageError
from resnest_edge.files import read_regular, write_atomically
from resnest_edge.spec import GraphInfo, QdqStyle

_MAX_CACHE_BYTES = 1 << 30

CURRENT = "current"
"""Compute capability that stands for the GPU in this machine."""

MIB = 1 << 20


def check_request(flavour: Flavour, info: GraphInfo, options: BuildOptions) -> None:
    """Refuse what this flavour does not build, without importing it.

    Raises:
        UsageError: a Q/DQ style other than ``portable``, a batch that an option does not allow, or what
            :func:`check_options` refuses.
    """
    if info.style not in (None, QdqStyle.PORTABLE):
        raise UsageError(
            f"{flavour.product} quantizes to int8 with zero point 0, and this graph is in the {info.style} Q/DQ style",
            hint="Export it for this target: --target tensorrt or tensorrt-rtx.",
        )
    check_options(flavour, options)
    if options.dla_core is not None and not info.batch.fixed:
        raise UsageError(f"the DLA takes one batch size, not {info.batch}", hint="Export it with --batch N.")


def check_options(flavour: Flavour, options: BuildOptions) -> None:
    """Refuse options whatever the graph, without importing the flavour.

    Raises:
        UsageError: an option out of range or not for this flavour, with the reason; two that exclude each other.
    """
    for name, option in given_options(options).items():
        if (reason := flavour.refused.get(name)) is not None:
            raise UsageError(f"{flavour.product} does not take {option}: {reason}", hint=f"Leave {option} out.")
    _check_ranges(options)
    if options.version_compatible and (options.refittable or options.stripped):
        raise UsageError(
            "a version-compatible engine cannot be refitted, so it can be neither --refittable nor --stripped"
        )
    if options.timing_cache is not None and not options.timing_cache.absolute().parent.is_dir():
        raise UsageError("there is no such folder", where=options.timing_cache.parent, hint="Make it first.")


def check_members(library: Any, options: BuildOptions) -> None:
    """Refuse compute capabilities and levels of compatibility that this version does not know.

    Raises:
        UsageError: naming those it knows.
    """
    for text in options.compute_capabilities:
        _capability(library, text)
    if options.hardware_compatibility is not None:
        _hardware_level(library, options.hardware_compatibility)


def _check_ranges(options: BuildOptions) -> None:
    capabilities = options.compute_capabilities
    if options.workspace_mib is not None and options.workspace_mib < 1:
        raise UsageError(
            f"a workspace of {options.workspace_mib} MiB is none", hint="Give at least 1, or leave it out."
        )
    if options.optimization_level is not None and not 0 <= options.optimization_level <= 5:
        raise UsageError(f"optimisation level {options.optimization_level} is not known", hint="Use 0 to 5.")
    if options.dla_core is not None and options.dla_core < 0:
        raise UsageError(f"there is no DLA core {options.dla_core}", hint="Cores are counted from 0.")
    if len(set(capabilities)) < len(capabilities):
        raise UsageError("name each compute capability once")
    if CURRENT in capabilities and len(capabilities) > 1:
        raise UsageError(f"compute capability {CURRENT!r} cannot be combined with others")


class Configuration:
    """An ``IBuilderConfig`` made from options, and what it says of itself afterwards.

    Args:
        flavour: the product.
        library: its module.
        builder: an ``IBuilder``.
        messages: where the runtime's warnings arrive.

    Raises:
        UsageError: an option that this version does not have, or a timing cache of another version or GPU.
        UnavailableError: no such DLA core is here.
    """

    def __init__(self, flavour: Flavour, library: Any, builder: Any, options: BuildOptions, messages: Messages) -> None:
        self._flavour, self._library, self._options, self._messages = flavour, library, options, messages
        config = builder.create_builder_config()
        config.clear_flag(library.BuilderFlag.TF32)  # on by default: FP32 with ten bits of mantissa
        config.profiling_verbosity = library.ProfilingVerbosity.DETAILED  # the inspector names layers and their types
        if options.workspace_mib is not None:
            config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
        if options.optimization_level is not None:
            config.builder_optimization_level = options.optimization_level
        if options.hardware_compatibility is not None:
            config.hardware_compatibility_level = _hardware_level(library, options.hardware_compatibility)
        self.config = config
        self._set_flags()
        self._dla_layers: int | None = None
        self._cache: Any = None  # it has to live as long as the configuration

    def _set_flags(self) -> None:
        config, options, flag = self.config, self._options, self._library.BuilderFlag
        wanted = {
            flag.VERSION_COMPATIBLE: options.version_compatible,
            flag.REFIT: options.refittable,
            flag.STRIP_PLAN: options.stripped,
            # the weights come back from the same graph, which keeps the kernels that were chosen for them
            flag.REFIT_IDENTICAL: options.stripped and not options.refittable,
            flag.GPU_FALLBACK: options.dla_core is not None,
        }
        for member, given in wanted.items():
            if given:
                config.set_flag(member)

    def name_gpus(self) -> bool:
        """Set the compute capabilities; False where the runtime refuses them."""
        config, members = self.config, [_capability(self._library, text) for text in self._options.compute_capabilities]
        if not members:
            return True
        config.num_compute_capabilities = len(members)
        return all(config.set_compute_capability(member, index) for index, member in enumerate(members))

    def use_dla(self, builder: Any, network: Any, info: GraphInfo) -> None:
        """Send every layer to the DLA core that was asked for, the GPU taking what it cannot run."""
        core, config, library = self._options.dla_core, self.config, self._library
        if core is None:
            return
        _check_dla_version(self._flavour, str(library.__version__), info)
        if core >= (cores := int(builder.num_DLA_cores)):
            raise UnavailableError(
                f"there is no DLA core {core} here: this device has {cores}", hint="Leave --dla-core out."
            )
        config.default_device_type = library.DeviceType.DLA
        config.DLA_core = core
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        self._dla_layers = sum(bool(config.can_run_on_DLA(layer)) for layer in layers)
        if not self._dla_layers:
            raise GraphError(
                f"none of this graph's {len(layers)} layers can run on the DLA", hint="Leave --dla-core out."
            )

    def read_cache(self) -> None:
        """Attach the timing cache: the file's, or an empty one where there is no file yet."""
        path, config = self._options.timing_cache, self.config
        if path is None:
            return
        try:
            data = read_regular(path, _MAX_CACHE_BYTES) if path.exists() else b""
        except OSError as exc:
            raise UsageError(f"cannot be read ({exc.strerror})", where=path) from exc
        before = self._messages.warnings.copy()
        cache = config.create_timing_cache(data)
        attached = cache is not None and config.set_timing_cache(cache, False)
        news = [text for text in (self._messages.warnings - before) if "timing cache" in text.lower()]
        if not attached or (data and news):  # unreadable bytes give an empty cache and a warning
            raise UsageError(
                f"is no timing cache of this version and GPU ({'; '.join(news) or 'it was refused'})",
                where=path,
                hint="Name another file; one is made for each version of the runtime and each GPU.",
            )
        self._cache = cache

    def write_cache(self) -> None:
        """Save what the build measured, so that the next one is faster.

        Raises:
            OutputError: the file cannot be written.
        """
        cache, path = self._cache, self._options.timing_cache
        if path is not None:
            write_atomically(path, bytes(cache.serialize()))

    def settings(self) -> dict[str, Any]:
        """What the configuration reports, and which options decide where the engine runs."""
        config, options = self.config, self._options
        settings = {
            "workspace_mib": config.get_memory_pool_limit(self._library.MemoryPoolType.WORKSPACE) // MIB,
            "optimization_level": config.builder_optimization_level,
        }
        if self._flavour.names_gpus:
            members = [config.get_compute_capability(index) for index in range(config.num_compute_capabilities)]
            settings["compute_capabilities"] = [_capability_text(member.name) for member in members]
        for name in ("version_compatible", "hardware_compatibility", "dla_core", "refittable", "stripped"):
            value = getattr(options, name)
            if value is not None and value is not False:  # 0 is a DLA core
                settings[name] = value
        if self._dla_layers is not None:
            settings["dla_layers"] = self._dla_layers
        return settings


def _hardware_level(library: Any, text: str) -> Any:
    members = {name.lower().replace("_", "-"): value for name, value in _levels(library).items()}
    if text not in members:
        known = " or ".join(members)
        raise UsageError(f"hardware compatibility {text!r} is not known to this version", hint=f"Use {known}.")
    return members[text]


def _levels(library: Any) -> dict[str, Any]:
    return {name: value for name, value in library.HardwareCompatibilityLevel.__members__.items() if name != "NONE"}


def _check_dla_version(flavour: Flavour, version: str, info: GraphInfo) -> None:
    major, minor = (int(part) for part in version.split(".")[:2])
    support = next((row for row in flavour.dla if row.first <= (major, minor) <= row.last), None)
    if support is None:
        known = ", ".join(f"{'.'.join(map(str, row.first))} to {'.'.join(map(str, row.last))}" for row in flavour.dla)
        raise UsageError(f"{flavour.product} {version} does not build for the DLA", hint=f"Versions {known} do.")
    if info.precision not in support.precisions:
        taken = " or ".join(f"--precision {precision}" for precision in support.precisions)
        raise UsageError(
            f"the DLA of {flavour.product} {version} does not run {info.precision} graphs", hint=f"Export with {taken}."
        )


def _capability(library: Any, text: str) -> Any:
    """The vendor's member for ``8.9`` or ``current``.

    Raises:
        UsageError: this version does not build for it, naming those it does.
    """
    members = {_capability_text(name): value for name, value in library.ComputeCapability.__members__.items()}
    members.pop("none", None)
    if text not in members:
        known = ", ".join(members)
        raise UsageError(f"compute capability {text!r} is not one this version builds for", hint=f"Use {known}.")
    return members[text]


def _capability_text(name: str) -> str:
    """``SM89`` as ``8.9``; the others in lower case."""
    return re.sub(r"^sm(\d+)(\d)$", r"\1.\2", name.lower())
