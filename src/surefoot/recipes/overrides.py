"""Settings on the command line: their dotted names, and their values as text."""

import copy
import json
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from surefoot.errors import InputError, nearest, suggestion
from surefoot.recipes.recipe import Recipe
from surefoot.schedules import Schedule
from surefoot.settings import Settings, named_fields, plain

# Names of settings in other libraries and in version 0.1, for suggestions.
_OTHER_NAMES = {
    **dict.fromkeys(("copies", "n_envs", "envs"), "num_envs"),
    **dict.fromkeys(("lr", "rate"), "learning_rate"),
    **dict.fromkeys(("clip", "clip_range"), "clip_eps"),
    **{"gamma": "discount", "tau": "polyak", "n_steps": "horizon", "n_epochs": "epochs", "total_timesteps": "steps"},
    **{"ent_coef": "entropy_coef", "vf_coef": "value_coef", "trace_decay": "gae_lambda", "target_kl": "desired_kl"},
    **{"net_arch": "actor", "history": "frame_stack"},
}


def setting_fields(
    model: type[Settings] = Recipe, parent: str = "", defaults: Settings | None = None
) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the dotted name and the field of every setting; `defaults` override those of `model`."""
    for name, field in named_fields(model).items():
        kinds = [field.annotation, *typing.get_args(field.annotation)]
        table = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)
        if table and table is not Schedule:  # a schedule is a single setting
            default = getattr(defaults, name, field.default)
            yield from setting_fields(table, f"{parent}{name}.", default if isinstance(default, Settings) else None)
        else:
            if defaults is not None:
                field = copy.copy(field)
                field.default = getattr(defaults, name)
            yield parent + name, field


def parse_settings(texts: Mapping[str, str | None], flags: Sequence[str] = ()) -> dict[str, Any]:
    """Convert the texts of settings, by dotted name, to values that `Recipe` validates.

    A text is a TOML value (`1e-3`, `true`, `[64, 64]`). Quotes may be omitted, `none` means no value, and a list of one
    item needs no brackets.

    Args:
        texts: such as `{"ppo.clip_eps": "0.1"}`; "-" and "_" in a name are equivalent; None: the value is missing.
        flags: other command line options, such as "--name", to suggest for an unknown name.

    Raises:
        InputError: there is no such setting (the message suggests the nearest), or its value is missing.
    """
    fields = dict(setting_fields())
    values = {}
    for name, text in texts.items():
        known = find_setting(name, fields, flags)
        if text is None:
            raise InputError(f"setting '--{known}' needs a value; 'surefoot train --settings' says which")
        owner, _, part = known.rpartition(".")
        field = fields.get(known) or (Schedule.model_fields.get(part) if owner in fields else None)
        values[known] = _parse_value(text, field.annotation if field else None)
    return values


def setting_text(value: Any) -> str:
    """Return the text that `parse_settings` converts to a value."""
    return "none" if value is None else value if isinstance(value, str) else _toml_text(value)


def _toml_text(value: Any) -> str:
    if isinstance(value, Settings):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml_text(part)}" for name, part in value.items()) + " }"
    return json.dumps(plain(value))


def find_setting(name: str, fields: Mapping[str, FieldInfo], flags: Sequence[str] = ()) -> str:
    """Return the name of a setting, a part of a schedule or a task option; "-" and "_" are equivalent.

    Args:
        name: dotted name.
        fields: all settings, of `setting_fields`.
        flags: other command line options to suggest.

    Raises:
        InputError: there is no such setting; the message suggests the nearest.
    """
    plain = name.replace("-", "_")
    if plain in fields:
        return plain
    owner, _, part = plain.rpartition(".")
    if owner in fields and fields[owner].annotation is Schedule and part in Schedule.model_fields:
        return plain
    table, dot, key = plain.partition(".")
    if dot and key and table in fields and typing.get_origin(fields[table].annotation) is dict:
        return plain
    inside = [known for known in fields if known.startswith(plain + ".")]
    if inside:
        raise InputError(
            f"'--{plain}' holds several settings; choose from " + ", ".join(f"--{name}" for name in inside)
        )
    owner, _, last = plain.rpartition(".")
    tables = {known.rpartition(".")[0] for known in fields} - {""}
    inside = [known for known in fields if owner not in tables or known.startswith(f"{owner}.")]
    parts, meant = {known: known.rpartition(".")[2] for known in inside}, _OTHER_NAMES.get(last, last)
    # Settings with the same last part, then those whose last part contains it, then similar ones or all of its table.
    options = [known for known in parts if parts[known] in (last, meant)]
    if not options and owner in tables:
        options = [known for known in parts if meant in parts[known]]
        close = nearest(last, parts.values())
        options = options or [known for known in parts if not close or parts[known] in close]
    if options:
        listed = " or ".join(f"'--{option}'" for option in options[:3])
        hint = f"; did you mean {listed}?" if len(options) <= 3 else "; choose from --" + ", --".join(options)
    else:
        hint = suggestion(f"--{plain}", [*(f"--{known}" for known in fields), *flags])
        hint = hint if "did you mean" in hint else "; 'surefoot train --settings' lists them all"
    raise InputError(f"unknown setting '--{name[:100]}'{hint}")


def _parse_value(text: str, kind: Any) -> Any:
    parts = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    if type(None) in parts and text.lower() in ("none", "null"):
        return None
    if kind is str:
        return _toml_value(text) if text[:1] in ('"', "'") else text
    value = _toml_value(text)
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str):
            words = value.strip().removeprefix("[").removesuffix("]").split(",")
            return [_toml_value(word.strip()) for word in words if word.strip()]
        return value if isinstance(value, list) else [value]
    return value


def _toml_value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text
    return document["value"] if len(document) == 1 else text
