"""Networks from elsewhere: torchvision's, timm's, and those of the user's own code."""

import copy
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers._blank import blank_image
from dfkd_tune.classifiers._modes import evaluation_mode
from dfkd_tune.errors import TeacherError, did_you_mean
from dfkd_tune.inputs import InputSpecification

FORMS = "torchvision:NAME, timm:NAME, PACKAGE.MODULE:FACTORY, PATH/TO/FILE.py:FACTORY"

# torchvision's factories say nothing of their keywords, so this is by name.
_WIDTH_KEYWORDS = {
    "mobilenet_v2": "width_mult",
    "mobilenet_v3_small": "width_mult",
    "mobilenet_v3_large": "width_mult",
}


def is_foreign(architecture: str) -> bool:
    """Whether a network comes from elsewhere than this project's registry."""
    return ":" in architecture


def _parts(architecture: str) -> tuple[str, str]:
    """Where a foreign network comes from, and its name there."""
    origin, _, name = architecture.rpartition(":")
    return origin, name


def check_form(architecture: str) -> None:
    """Check how a foreign architecture is written; nothing is imported or looked up.

    Raises:
        ValueError: if it has none of the known forms.
    """
    origin, name = _parts(architecture)
    if origin in _BUILDERS:
        good = bool(name.strip())
    elif origin.endswith(".py"):
        good = name.isidentifier()
    else:
        good = name.isidentifier() and all(part.isidentifier() for part in origin.split("."))
    if not good:
        raise ValueError(f"'{architecture}' names no network; write it as one of {FORMS}")


def takes_width(architecture: str) -> bool:
    """Whether a width other than 1 can be given, as far as the name alone tells."""
    origin, name = _parts(architecture)
    return not is_foreign(architecture) or (origin == "torchvision" and name in _WIDTH_KEYWORDS)


def build_foreign(
    architecture: str, width: float, arguments: Mapping[str, Any], inputs: InputSpecification
) -> nn.Module:
    """Build a network from elsewhere, and try it on a blank image.

    Args:
        architecture: such as `torchvision:resnet18` or `models/mine.py:make`.
        width: multiplier; 1 where the factory takes none.
        arguments: keyword arguments of the factory.
        inputs: shape and classes.

    Raises:
        TeacherError: if there is no such network, it cannot be made, or it does not suit `inputs`.
    """
    if width != 1 and not takes_width(architecture):
        raise TeacherError(f"network '{architecture}' takes no width; leave it at 1")
    origin, name = _parts(architecture)
    keywords = copy.deepcopy(dict(arguments))
    if origin in _BUILDERS:
        network = _BUILDERS[origin](name, width, keywords, inputs)
    else:
        network = _own(origin, name, keywords)
    if not isinstance(network, nn.Module):
        raise TeacherError(
            f"network '{architecture}': the factory gives an object of type "
            f"{type(network).__name__}; it must return a torch.nn.Module"
        )
    check_output(network, inputs, name=f"network '{architecture}'")
    return network


def check_output(
    network: nn.Module, inputs: InputSpecification, *, name: str = "the network"
) -> None:
    """Check on a blank image that a network gives one number per class.

    Args:
        network: run once, in evaluation mode.
        inputs: shape and classes.
        name: begins the messages.

    Raises:
        TeacherError: if the network fails on such an image, or gives anything but one tensor
            `(N, num_classes)`.
    """
    shape = " x ".join(str(side) for side in inputs.shape)
    try:
        with evaluation_mode(network), torch.no_grad():
            output = network(blank_image(network, inputs))
    except Exception as error:
        raise TeacherError(
            f"{name} fails on an image of {shape}: {_reason(error)}; "
            f"it must take the benchmark's {inputs.channels} channels and size"
        ) from error
    if not isinstance(output, Tensor):
        raise TeacherError(
            f"{name} gives a {type(output).__name__} for an image of {shape}; "
            f"it must return one tensor of logits, (N, {inputs.num_classes})"
        )
    if output.dim() != 2 or len(output) != 1:
        raise TeacherError(
            f"{name} gives a tensor of shape {tuple(output.shape)} for one image of {shape}; "
            f"it must return logits, (N, {inputs.num_classes})"
        )
    if output.shape[1] != inputs.num_classes:
        raise TeacherError(
            f"{name} gives {output.shape[1]} outputs, the benchmark has {inputs.num_classes} "
            f"classes; build it for {inputs.num_classes}, or choose the matching benchmark"
        )


# ---------------------------------------------------------------- libraries


def _refuse_own(origin: str, arguments: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    clash = sorted(arguments.keys() & own.keys())
    if clash:
        raise TeacherError(
            f"arguments of a {origin} network may not hold {', '.join(clash)}: the benchmark and "
            f"the weights file decide that; leave it out"
        )


def _from_torchvision(
    name: str, width: float, arguments: Mapping[str, Any], inputs: InputSpecification
) -> Any:
    own: dict[str, Any] = {"weights": None, "num_classes": inputs.num_classes}
    _refuse_own("torchvision", arguments, own)
    models = importlib.import_module("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise TeacherError(f"torchvision has no classifier '{name}'; {did_you_mean(name, known)}")
    if width != 1:
        own[_WIDTH_KEYWORDS[name]] = width
    return _made(f"torchvision:{name}", models.get_model, {"name": name, **own, **arguments})


def _from_timm(
    name: str, _width: float, arguments: Mapping[str, Any], inputs: InputSpecification
) -> Any:
    own = {
        "pretrained": False,
        "num_classes": inputs.num_classes,
        "in_chans": inputs.channels,
    }
    _refuse_own("timm", arguments, own)
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise TeacherError(f"timm cannot be imported: {_reason(error)}") from error
        raise TeacherError(
            f"network 'timm:{name}' needs timm, which is not installed; pip install timm"
        ) from error
    known = timm.list_models()
    # Behind a dot is the name of weights, which are not loaded.
    if name.split(".")[0] not in known:
        close = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(repr(match) for match in close)}? " if close else ""
        raise TeacherError(f"timm has no network '{name}'; {hint}timm.list_models() lists them")
    return _made(f"timm:{name}", timm.create_model, {"model_name": name, **own, **arguments})


_BUILDERS: dict[str, Callable[[str, float, Mapping[str, Any], InputSpecification], Any]] = {
    "torchvision": _from_torchvision,
    "timm": _from_timm,
}


# ---------------------------------------------------------------- the user's own code


def _own(origin: str, name: str, arguments: Mapping[str, Any]) -> Any:
    file = Path(origin).expanduser() if origin.endswith(".py") else None
    folder = Path.cwd() if file is None else file.absolute().parent
    with _importable(folder):
        module = _imported(origin) if file is None else _loaded(file)
        factory = getattr(module, name, None)
        if not callable(factory):
            there = [
                key for key, value in vars(module).items() if callable(value) and key[0] != "_"
            ]
            problem = "has no" if factory is None else "holds data, no function or class, under"
            raise TeacherError(f"{origin} {problem} '{name}'; {did_you_mean(name, there)}")
        return _made(f"{origin}:{name}", factory, arguments)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules of a folder be imported, as those beside a script are."""
    entry = str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        # The user's code may have taken it off itself.
        if entry in sys.path:
            sys.path.remove(entry)


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Not what the module itself imports, but the module or a package that it is in.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise TeacherError(
                f"there is no module '{error.name}', neither in {Path.cwd()} nor installed; "
                f"check the name, or start where it is"
            ) from error
        raise _failed_import(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed_import(name, error) from error


def _loaded(file: Path) -> ModuleType:
    """The module that a file holds, under a name that no other module has."""
    try:
        source = file.read_bytes()
    except FileNotFoundError as error:
        raise TeacherError(
            f"file {file} does not exist (looked for from {Path.cwd()}); check the path"
        ) from error
    except OSError as error:
        raise TeacherError(f"cannot read {file}: {error.strerror or error}") from error
    path = file.resolve()
    digest = hashlib.sha256(str(path).encode() + b"\0" + source).hexdigest()[:16]
    name = f"_dfkd_tune_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise TeacherError(f"{file} is no Python file; give one")
    module = importlib.util.module_from_spec(spec)
    # Before it runs: dataclasses and pickle look a class up in its module.
    sys.modules[name] = module
    try:
        # Not the loader, which may find an older version of the file in its cache.
        exec(compile(source, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed_import(str(file), error) from error
    return module


def _failed_import(what: str, error: BaseException) -> TeacherError:
    return TeacherError(
        f"{what} cannot be imported: {_reason(error)}{_place(error)}; mend that first"
    )


def _made(architecture: str, factory: Callable[..., Any], keywords: Mapping[str, Any]) -> Any:
    try:
        return factory(**keywords)
    except (Exception, SystemExit) as error:
        raise TeacherError(
            f"network '{architecture}' cannot be built: {_reason(error)}{_place(error)}; "
            f"check its arguments"
        ) from error


def _reason(error: BaseException) -> str:
    """An error's type and message, on one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    words = " ".join(text.split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _place(error: BaseException) -> str:
    """Where in the user's code an error arose: ` (file, line N)`; empty where nowhere in it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<")
    ]
    libraries = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    own = [frame for frame in frames if libraries.isdisjoint(Path(frame.filename).parents)]
    if not frames:
        return ""
    frame = (own or frames)[-1]
    return f" ({frame.filename}, line {frame.lineno})"
