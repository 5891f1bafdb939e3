"""The page /docs: what the service offers, without scripts or anything from elsewhere."""

from html import escape

from tools.serving.reading import FIELD
from tools.serving.uploads import mebibytes

STYLE = "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}pre{background:#8881;padding:.5em}"
EXAMPLES = (
    f"curl -F {FIELD}=@cat.jpg -F {FIELD}=@dog.jpg 'URL/predict?top=3'",
    "curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg' URL/predict",
)


def guide(schema: dict, service) -> str:
    """Returns the page for an OpenAPI schema."""
    about, limits = service.about, service.settings.limits
    parts = [
        f"<h1>{escape(about['method'])} on {escape(about['backbone'])}, {about['classes']:,} classes</h1>",
        "<pre>" + escape("\n".join(EXAMPLES)) + "</pre>",
        f"<p>Limits: {limits.images:,} images and {mebibytes(limits.request_bytes)} per request, "
        f"{mebibytes(limits.image_bytes)} and {limits.pixels:,} pixels per image.</p>",
    ]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation.get('description', ''))}</p>")
            rows = "".join(map(parameter, operation.get("parameters", ())))
            parts.append(f"<ul>{rows}</ul>" if rows else "")
    parts.append('<p>Schema: <a href="openapi.json">openapi.json</a></p>')
    head = f'<meta charset="utf-8"><title>clipfit serve</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def parameter(item: dict) -> str:
    return f"<li><code>{escape(item['name'])}</code>: {escape(item.get('description', ''))}</li>"
