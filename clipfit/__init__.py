"""Few-shot fine-tuning of CLIP, in scikit-learn's manner.

    import clipfit

    model = clipfit.CLIPFit(backbone="ViT-B/16", shots=16).fit("images/")     # images/cat/1.jpg, images/dog/1.jpg, ...
    model = clipfit.CoOp(backbone="ViT-B/16").fit(paths, labels)
    model.predict(["a.jpg", "b.jpg"])
    model.save("cats_and_dogs")
    clipfit.load("cats_and_dogs").predict_proba(photos)
    clipfit.show("output/mine")  # the page of a run

`clipfit.methods()` lists the methods. `clipfit.NAME` is the estimator of a method, and `clipfit.Classifier("NAME")` the
same with the name as a parameter. The command `clipfit` runs the programs. See docs/python.md.
"""

from . import checkout

__version__ = "0.1.0"
__all__ = ["Classifier", "load", "methods", "show"]

checkout.install()


def __getattr__(name: str):
    """Imports the estimators on first use, as they need torch and scikit-learn."""
    if name == "show":
        from .page import show

        return show
    if name in __all__:
        from . import registry

        return getattr(registry, name)
    if name[:1].isupper():
        from .registry import class_of_method

        try:
            return class_of_method(name)
        except ValueError as error:
            raise AttributeError(str(error)) from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    from .registry import methods

    return [*globals(), *__all__, *methods()]
