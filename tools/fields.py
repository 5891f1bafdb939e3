"""Checks the fields of YAML files. Each error is one line that names the field and the value."""

import difflib

TYPES = {
    str: "text", list: "a list", dict: "a mapping", int: "a whole number", bool: "true or false", type(None): "null",
}  # fmt: skip


def check_fields(content, fields: dict, where: str, required=()) -> None:
    """Raises ValueError if `content` is no mapping, has an unknown field or one of the wrong type, or lacks one.

    Args:
        fields: name -> allowed types.
        required: names of the fields that must be there.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{where}: must be fields, got {content!r:.60}")
    for field, value in content.items():
        if field not in fields:
            near = difflib.get_close_matches(str(field), fields, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{where}: unknown field {field!r}{hint}; allowed: {', '.join(fields)}")
        if type(value) not in fields[field]:
            allowed = " or ".join(TYPES[kind] for kind in fields[field])
            raise ValueError(f"{where}: {field} must be {allowed}, got {value!r:.60}")
    for field in required:
        if field not in content:
            raise ValueError(f"{where}: {field} is missing")


def check_one_of(values: tuple, allowed, where: str) -> None:
    for value in values:
        if value not in allowed:
            raise ValueError(f"{where} must be one of {', '.join(allowed)}, got {value!r}")
