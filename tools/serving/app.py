"""The HTTP interface of the service, a FastAPI application."""

import contextlib
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from clipfit import __version__
from tools.serving.batches import Busy
from tools.serving.guide import guide
from tools.serving.reading import FIELD
from tools.serving.service import RequestTimeout, Service, check_classes
from tools.serving.uploads import UploadError
from trainers.common.finite import InvalidLogits
from trainers.common.inference.predictions import Predictions

RETRY_SECONDS = "1"
CLIENT_LEFT = 499  # nginx's status; nobody reads it


class Options(BaseModel):
    """What a request may ask for."""

    model_config = ConfigDict(extra="forbid")
    top: int = Field(5, ge=1, description="classes per image")
    classes: list[str] | None = Field(None, description="other class names, repeated: classes=cat&classes=dog")
    template: str = Field("", description="prompt template, with {} for the class name")
    coverage: float | None = Field(
        None, gt=0, lt=1, description="add the prediction set with this coverage, e.g. 0.9; needs a calibrated run"
    )


class ClassProbability(BaseModel):
    name: str
    probability: float


class Prediction(BaseModel):
    image: str = Field(description="name of the uploaded file")
    classes: list[ClassProbability] = Field(description="the most probable classes, in descending order")
    set: list[str] | None = Field(None, description="the prediction set, with coverage")


class Answer(BaseModel):
    predictions: list[Prediction] = Field(description="one per image, in the order of the request")


class Error(BaseModel):
    error: str = Field(description="one line: what is wrong, and what to send instead")


BINARY = {"type": "string", "format": "binary"}
BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {FIELD: {"type": "array", "items": BINARY}}, "required": [FIELD]}
        },
        "image/*": {"schema": BINARY},
    },
}
ERRORS = {
    status: {"model": Error, "description": text}
    for status, text in {
        400: "the upload is empty, truncated or corrupted",
        408: "the body did not arrive in time",
        413: "the upload is too large",
        415: "the upload is no image in a known format",
        422: "an option, a field or the image cannot be used",
        503: "the service is busy; Retry-After says when to try again",
    }.items()
}


def make_app(service: Service) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield
        service.close()

    # FastAPI's own pages load scripts from elsewhere
    app = FastAPI(title="clipfit serve", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    add_error_handlers(app)

    @app.post("/predict", openapi_extra={"requestBody": BODY}, response_model=Answer, responses=ERRORS)
    async def predict(request: Request, options: Annotated[Options, Query()]):
        """Classifies images: those in the form field `images`, or the one in the body."""
        classes = check_classes(options.classes, options.template, service.settings)
        uploads, found = await service.predict(request, classes)
        sets = [None] * len(uploads) if options.coverage is None else prediction_sets(found, options.coverage)
        return JSONResponse({"predictions": list(map(prediction, uploads, found.top(options.top), sets))})

    @app.get("/classes")
    async def classes() -> list[str]:
        """Returns the class names."""
        return service.model.classifier.classnames

    @app.get("/version")
    async def version() -> dict:
        """Returns the version of clipfit, and which model this is."""
        return {"clipfit": __version__, **service.about}

    @app.get("/health", responses={503: {"description": "not ready"}})
    async def health() -> dict:
        """Returns whether the service is live, and ready for requests; counts images and batches."""
        state = service.health()
        return JSONResponse(state, 200 if state["ready"] else 503)

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(guide(app.openapi(), service), headers=headers)

    return app


def prediction(upload, top: list[tuple[str, float]], found_set: list[str] | None) -> dict:
    """Returns an item of the answer, as tools/predict.py --json has it."""
    item = {"image": upload.name, "classes": [{"name": name, "probability": p} for name, p in top]}
    return item if found_set is None else {**item, "set": found_set}


def prediction_sets(found: Predictions, coverage: float) -> list[list[str]]:
    """Returns the prediction set of each image. Raises UploadError if the calibration does not give this coverage."""
    if found.calibration is None:
        raise UploadError("coverage needs a calibrated model, which this is not for these classes: leave it out", 422)
    try:
        return found.sets(coverage)
    except ValueError as error:
        raise UploadError(f"coverage {coverage:g}: too few calibration images: use a smaller one", 422) from error


def failure(status: int, message: str, **headers) -> JSONResponse:
    return JSONResponse({"error": " ".join(message.split())}, status, headers=headers)


def describe_invalid(error: RequestValidationError) -> str:
    """Returns the first of the errors about options as one line."""
    first = error.errors()[0]
    name = str(first["loc"][-1])[:100]
    if first["type"] == "extra_forbidden":
        return f"unknown option {name!r}: must be one of {', '.join(Options.model_fields)}"
    return f"option {name!r}: {first['msg']}"


def add_error_handlers(app: FastAPI) -> None:
    """Answers each error with one line of JSON. Bugs also raise, so that the server logs them."""

    def handle(kind, answer) -> None:
        async def handler(request: Request, error):
            request.state.error = str(error)
            return answer(error)

        app.add_exception_handler(kind, handler)

    retry = {"Retry-After": RETRY_SECONDS}
    handle(UploadError, lambda error: failure(error.status, str(error)))
    handle(RequestValidationError, lambda error: failure(422, describe_invalid(error)))
    handle(Busy, lambda error: failure(503, "the service is busy: try again later", **retry))
    handle(MemoryError, lambda error: failure(503, "out of memory: send smaller images", **retry))
    handle(RequestTimeout, lambda error: failure(408, "the body did not arrive in time: send it again"))
    handle(ClientDisconnect, lambda error: failure(CLIENT_LEFT, "the client disconnected"))
    handle(InvalidLogits, lambda error: failure(500, f"the model failed: {error}"))
    handle(
        HTTPException, lambda error: failure(error.status_code, f"{error.detail}: see /docs", **(error.headers or {}))
    )
    handle(Exception, lambda error: failure(500, "internal error: see the log of the service"))
