"""Pages from templates. Every value that is put into one is escaped for HTML and made harmless for eyes, here, for all.

A template cannot forget it: Jinja's `finalize` sees each value, and autoescaping follows. `marked` shows the same text
with what was written out marked; it is the only other way, and the only place where markup is made from data.
"""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from proxy.core.visible import visible, visible_pieces

TEMPLATES = Path(__file__).parent / "templates"
_ODD = Markup('<mark class="odd">{}</mark>')


def _harmless(value: object) -> object:
    match value:
        case Markup():
            return value
        case str():
            return visible(value)
        case int() | float():
            return value
        case None:
            return ""
        case _:  # a template that shows an object by mistake must not show all that is in it
            raise TypeError(f"a page shows text and numbers, got {type(value).__name__}")


def marked(text: str) -> Markup:
    """`visible(text)`, what was written out in it marked."""
    return Markup("").join(
        _ODD.format(piece.text) if piece.odd else escape(piece.text) for piece in visible_pieces(text)
    )


def environment() -> Environment:
    """The templates of the desk."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["marked"] = marked
    return found


_ENVIRONMENT = environment()


def warm() -> None:
    """Compile every template, so that nobody's first page waits for it."""
    for name in _ENVIRONMENT.list_templates():
        _ENVIRONMENT.get_template(name)


def page(template: str, values: Mapping[str, object], *, status: int = 200) -> HTMLResponse:
    """One page."""
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(values), status_code=status)
