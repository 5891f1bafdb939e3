"""Maps names to classes."""

from .tools import check_availability


class Registry:
    """Holds classes or functions by their `__name__`.

    Register with the decorator `@REGISTRY.register()` or with `REGISTRY.register(obj)`.
    """

    def __init__(self, name: str):
        self._name = name
        self._obj_map = {}

    def register(self, obj=None, force: bool = False):
        """Adds `obj`. Raises KeyError if its name is already registered, unless `force`."""
        if obj is None:
            return lambda decorated: self.register(decorated, force=force)
        name = obj.__name__
        if name in self._obj_map and not force:
            raise KeyError(f"{name!r} is already registered in {self._name}; pass force=True to replace it")
        self._obj_map[name] = obj
        return obj

    def get(self, name: str):
        """Returns the object `name`. Raises KeyError with the closest name and all valid names."""
        try:
            check_availability(name, self.registered_names(), key=f"A name in {self._name}")
        except ValueError as error:
            raise KeyError(str(error)) from None
        return self._obj_map[name]

    def registered_names(self) -> list[str]:
        return list(self._obj_map)
