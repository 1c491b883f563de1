"""Pages and cards from templates: escaped, strict about names, without anything loaded from elsewhere.

It must not know what is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

__all__ = ["template_environment"]


def template_environment(package: str, *, markdown: bool = False) -> jinja2.Environment:
    """Return the environment of the templates in the folder `templates` of a package.

    Args:
        package: Such as "ratchet_adapters.diagnosis".
        markdown: Markdown instead of HTML: nothing is escaped by itself, and the last line keeps its end.
    """
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=not markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=markdown,
        undefined=jinja2.StrictUndefined,
    )
