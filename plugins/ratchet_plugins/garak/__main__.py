"""`python -m ratchet_plugins.garak`: garak's own command line, with the target type `ratchet` known to it.

garak looks for generators among the modules of its own package only. This puts ours among them for this process and
hands every argument on unchanged.
"""

from __future__ import annotations

import sys

__all__ = ["main", "register"]


def register() -> None:
    """Make the generator known to garak in this process as `ratchet`."""
    import garak.generators

    from ratchet_plugins.garak import generator

    # garak finds the configuration of a class by the module it says it is of.
    name = f"{garak.generators.__name__}.ratchet"
    generator.RatchetGenerator.__module__ = name
    sys.modules[name] = generator
    garak.generators.ratchet = generator


def main() -> None:
    """Run garak with this process's arguments."""
    from garak import cli

    register()
    cli.main(sys.argv[1:])


if __name__ == "__main__":
    main()
