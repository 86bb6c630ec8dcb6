"""Reading of MJCF and URDF files: limits on their size, meshes of URDF packages, clear messages."""

import contextlib
import dataclasses
import html
import math
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import mujoco

from surefoot.errors import InputError

_MOST_BYTES, _MOST_ELEMENTS, _DEEPEST, _MOST_FILES = 20_000_000, 20_000, 300, 100
_MOST_VALUES = 2e7  # of one element, such as the pixels of a texture
_MOST_FOLDERS_UP = 4
_LONGEST_SHOWN = 60  # characters of an attribute
_MOST_LENGTH_RANGE_STEPS = 10_000  # of each muscle
# Attributes whose number determines the memory or the number of elements.
_SIZES = {"count", "nrow", "ncol", "width", "height", "resolution", "dim", "nsample", "memory", "njmax", "nconmax"}
_SIZES |= {"nstack", "nuserdata", "params", "rayres"}
_REPEATING = ("replicate", "composite", "flexcomp")
_ATTRIBUTE = re.compile(r"""(?<![\w:])([\w:]++)\s*+=\s*(?:"([^"]*)"|'([^']*)')""")
# A comment, character data, a declaration, or a tag; the group is the inside of the tag. Values may contain ">".
_TAG = re.compile(
    r"""<(?:!--(?:.*?-->|.*)|!\[CDATA\[(?:.*?\]\]>|.*)|[!?][^>]*+>?|((?:[^<>"']++|"[^"]*+"|'[^']*+')*+)>)""", re.DOTALL
)
# Attributes that hold names or other text; a name may be "inf".
_TEXTS = {"name", "class", "childclass", "model", "prefix", "file", "filename", "content_type", "reference", "link"}
_TEXTS |= {"assetdir", "meshdir", "texturedir", "material", "texture", "mesh", "hfield", "target", "actuator", "key"}
_TEXTS |= {"objname", "refname", "refsite", "cranksite", "slidersite", "sidesite", "jointinparent", "instance", "data"}
_TEXTS |= {f"{kind}{end}" for kind in ("body", "joint", "geom", "site", "tendon", "flex") for end in ("", "1", "2")}
_LARGEST = 1e15  # of numbers that are no limits
_MAYBE_TOO_LARGE = re.compile(r"nan|inf|e\+?\d\d|\d{16}", re.IGNORECASE)
# Infinite values that mean "no limit": in an attribute that ends with "range", and in URDF's <limit>.
_NO_RANGE = (-math.inf, math.inf)
_NO_LIMIT = {"lower": -math.inf, "upper": math.inf, "effort": math.inf, "velocity": math.inf}
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_MESHES = (".stl", ".obj", ".msh")
# MuJoCo's messages, and the messages shown instead.
_WORDS = {
    r"empty file": "the file is empty",
    r"XML parse error.*Line number=(\d+)": "it is not a model that MuJoCo can read: no valid XML near line {0}",
    r"no decoder found for mesh file '(.*?)'": "the mesh '{0}' cannot be read; convert it to .stl or .obj",
    r"[Ee]rror opening file '(.*?)'": "there is no file '{0}', which it needs; copy it there",
    r"mass and inertia of moving bodies.*name '(.*?)'": "the moving body '{0}' has no mass; give it mass and inertia, "
    "or fix its joint",
    r"inertia must satisfy.*name '(.*?)'": "the inertia of '{0}' is impossible: its largest principal moment exceeds "
    "the sum of the others; correct it",
    r"global coordinates": "it has global coordinates, which MuJoCo no longer reads; load and save it in MuJoCo 2.3.3",
    r"model type: '(.*?)'": "it is only a part of a model, <{0}>; choose the file that includes it",
    r"keyframe '?(.*?)'?: invalid (\w+) size, expected (?:length )?(\d+)": "keyframe {0} must have {2} values in {1}",
}


@contextlib.contextmanager
def quiet_mujoco() -> Iterator[None]:
    """Keep MuJoCo from printing warnings, and from writing them to MUJOCO_LOG.TXT in the current folder."""
    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda _: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)


def read_model(path: Path) -> mujoco.MjSpec:
    """Read a model without compiling it.

    Raises:
        InputError: the file is larger or deeper than a robot's, needs too much memory, or its meshes are missing.
        ValueError: MuJoCo cannot read it.
    """
    _check_size(path)
    spec = mujoco.MjSpec.from_string(_find_meshes(path)) if path.suffix.lower() == ".urdf" else None
    spec = spec or mujoco.MjSpec.from_file(str(path))
    steps = spec.compiler.LRopt.inttotal / max(spec.compiler.LRopt.timestep, 1e-9)
    if steps > _MOST_LENGTH_RANGE_STEPS:
        raise InputError(f"its <lengthrange> asks for {steps:.0e} steps; at most {_MOST_LENGTH_RANGE_STEPS:,} are made")
    return spec


def explain(message: str) -> str:
    """Return a clear message for an error of MuJoCo, or else MuJoCo's own."""
    for pattern, words in _WORDS.items():
        if found := re.search(pattern, message, re.DOTALL):
            return words.format(*found.groups())
    return f"it is not a model that MuJoCo can read: {message}"


def _find_meshes(path: Path) -> str:
    """Return the text of a URDF file with the paths of its meshes, in its folder or in those above.

    Visual meshes that are missing or of a kind that MuJoCo cannot read are left out.
    """
    text = path.read_text("utf-8", errors="replace")
    if "<!ENTITY" in text:
        raise InputError("it defines entities, which are not read")
    if "${" in text or "xacro:" in text:
        raise InputError(f"it contains xacro; write it out first: xacro {path.name} > robot.urdf")
    try:
        robot = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(
            f"it is not a model that MuJoCo can read: no valid XML near line {error.position[0]}"
        ) from None
    extension = robot.find("mujoco")
    if extension is None:
        extension = ElementTree.SubElement(robot, "mujoco")
    compiler = extension.find("compiler")
    if compiler is None:
        compiler = ElementTree.SubElement(extension, "compiler")
    folder = compiler.attrib.pop("meshdir", "")
    compiler.set("strippath", "false")
    for link in robot.iter("link"):
        for shape in [*link.findall("visual"), *link.findall("collision")]:
            for mesh in shape.iter("mesh"):
                name = mesh.get("filename", "")
                found = _find_mesh(path.resolve().parent, name, folder)
                if found is not None and found.suffix.lower() in _MESHES:
                    mesh.set("filename", str(found))
                elif shape.tag == "visual":
                    link.remove(shape)
                    break
                elif found is None:
                    raise InputError(f"the mesh '{name}' is neither in its folder nor in those above; copy it there")
                else:
                    raise InputError(f"the mesh '{name}' cannot be read; convert it to .stl or .obj")
    return ElementTree.tostring(robot, "unicode")


def _find_mesh(folder: Path, name: str, meshdir: str) -> Path | None:
    place = Path(name.partition("://")[2] or name)
    # A package is a folder; it may be the file's own or one above it.
    options = [place, Path(*place.parts[1:]), Path(meshdir, place), Path(meshdir, place.name)]
    for parent in (folder, *folder.parents[:_MOST_FOLDERS_UP]):
        for option in options:
            if option.name and (parent / option).is_file():
                return parent / option
    return None


@dataclasses.dataclass
class _FileSize:
    """Number of elements of a model file, without those of the files in it, and places where these are inserted."""

    model: str = "MuJoCo Model"  # the name that MuJoCo gives to a model without one
    elements: float = 0.0
    depth: int = 0
    includes: list[tuple[float, int, str]] = dataclasses.field(default_factory=list)  # copies, depth, file
    attached: list[tuple[float, int, str]] = dataclasses.field(default_factory=list)  # copies, depth, model's name
    models: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # name or "" for the file's, file


def _check_size(path: Path) -> None:
    """Check a file, and those that it includes or attaches, before MuJoCo reads them."""
    sizes: dict[Path, _FileSize] = {}
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in sizes or not current.is_file():
            continue
        if len(sizes) == _MOST_FILES:
            raise InputError(f"it needs more than {_MOST_FILES} model files")
        if current.stat().st_size > _MOST_BYTES:
            raise InputError(f"'{current.name}' is larger than {_MOST_BYTES / 1e6:.0f} MB")
        size = sizes[current] = _file_size(current)
        _check_elements(size.elements, size.depth)
        for name in [file for *_, file in size.includes] + [file for _, file in size.models]:
            # MuJoCo looks beside the model and beside the file that names it.
            waiting += [folder / name for folder in {path.parent, current.parent}]
    _check_elements(*_whole_size(path, path, sizes, {}))


def _check_elements(elements: float, depth: int) -> None:
    if elements > _MOST_ELEMENTS or depth > _DEEPEST:
        raise InputError(f"it has more than {_MOST_ELEMENTS:,} elements, or elements nested more than {_DEEPEST} deep")


def _whole_size(
    file: Path, root: Path, sizes: dict[Path, _FileSize], known: dict[Path, tuple[float, int]]
) -> tuple[float, int]:
    """Return the number of elements and the depth of a file with all that it includes or attaches."""
    if file in known or file not in sizes:
        return known.get(file, (0, 0))
    known[file] = 0, 0  # a file that includes itself; MuJoCo refuses it
    size = sizes[file]
    elements, depth = size.elements, size.depth
    places = [(copies, level, [root.parent / name, file.parent / name]) for copies, level, name in size.includes]
    models = [
        (name or sizes[path].model, path)
        for other, parts in sizes.items()
        for name, model in parts.models
        for path in (root.parent / model, other.parent / model)
        if path in sizes
    ]
    for copies, level, attached in size.attached:
        places.append((copies, level, [path for name, path in models if name == attached]))
    for copies, level, paths in places:
        for path in dict.fromkeys(paths):
            inner, inner_depth = _whole_size(path, root, sizes, known)
            elements, depth = elements + copies * inner, max(depth, level + inner_depth)
    known[file] = elements, depth
    return known[file]


def _file_size(path: Path) -> _FileSize:
    size = _FileSize()
    factors = [1.0]  # copies of an element, by depth
    text = path.read_text("utf-8", errors="replace")
    for found in _TAG.finditer(text):
        tag = found[1] or ""
        if tag.startswith("/"):
            factors = factors[:-1] or [1.0]
            continue
        if not tag.strip():
            continue
        name = tag.split(None, 1)[0].rstrip("/")
        attributes = {key: html.unescape(double or single) for key, double, single in _ATTRIBUTE.findall(tag)}
        if wrong := _too_large(name, attributes):
            line = text.count("\n", 0, found.start()) + 1
            raise InputError(f"its {wrong} in line {line} is not a number from {-_LARGEST:g} to {_LARGEST:g}")
        values = math.prod(
            _number(value) for key, value in attributes.items() if key in _SIZES or (name, key) == ("numeric", "size")
        )
        if values > _MOST_VALUES:
            raise InputError(f"its <{name}> asks for {values:.0e} values; at most {_MOST_VALUES:.0e} are read")
        factor = factors[-1] * (values if name in _REPEATING else 1)
        size.elements, size.depth = size.elements + factor, max(size.depth, len(factors))
        _check_elements(size.elements, size.depth)
        if not tag.endswith("/"):
            factors.append(factor)
        file = attributes.get("file", "")
        if name == "include" and file:
            size.includes.append((factor, len(factors), file))
        elif name == "attach":
            size.attached.append((factor, len(factors), attributes.get("model", "")))
        elif name == "model" and file:
            size.models.append((attributes.get("name", ""), file))
        elif name == "mujoco":
            size.model = attributes.get("model", size.model)
    return size


def _too_large(tag: str, attributes: dict[str, str]) -> str | None:
    """Return an attribute with a number that is not finite or too large, as text; limits may be infinite."""
    for name, text in attributes.items():
        if name in _TEXTS or not _MAYBE_TOO_LARGE.search(text):
            continue
        for place, word in enumerate(text.split()):
            try:
                value = float(word.partition("(")[0])  # C reads "nan(1)"
            except ValueError:
                continue
            end = _NO_RANGE[place] if name.endswith("range") and place < 2 else None
            end = _NO_LIMIT.get(name) if tag == "limit" else end
            if not abs(value) <= _LARGEST and not (end and value * end > 0):
                return f'<{tag} {name}="{text[:_LONGEST_SHOWN]}">'
    return None


def _number(text: str) -> float:
    """Return the product of the numbers in a text, "10 20" or "5M"; parts that are no numbers count as 1."""
    parts = re.findall(r"(\d+(?:\.\d*)?(?:e\d{1,3})?)([KMGTPE]?)", text[:200], re.IGNORECASE)
    return math.prod(max(float(value) * _UNITS.get(unit.upper(), 1), 1.0) for value, unit in parts)
