"""The manifest of a rail that one scorer decides: what such rails share, apart from the scorer and the side.

It must not know any scorer, nor how a text is judged.
"""

from __future__ import annotations

from nemoguardrails.manifests import (
    ActionRef,
    Binding,
    RailActions,
    RailDirection,
    RailManifest,
    RailMetadata,
    RailSpec,
    RailSurface,
)

__all__ = ["classifier_rail"]

_TEXT = {RailDirection.INPUT: "user_message", RailDirection.OUTPUT: "bot_message"}


def classifier_rail(
    scorer: str, direction: RailDirection, *, module: str, description: str, moderates: bool = False
) -> RailManifest:
    """Return the manifest of the rail `ratchet <scorer> <input or output>`, with the optional parameter `$threshold`.

    Args:
        scorer: The scorer's name in the registry.
        direction: Which side of the exchange it judges, INPUT or OUTPUT.
        module: Import name of the module that holds the action, a function `<scorer>_<direction>`.
        description: One sentence for people who choose rails.
        moderates: Whether it judges how something is said, besides what is asked for.
    """
    side = direction.value
    action = ActionRef(name=f"ratchet_{scorer}_{side}", target=f"{module}:{scorer}_{side}")
    return RailManifest(
        name=f"ratchet.{scorer}",
        metadata=RailMetadata(
            display_name=f"Ratchet {scorer}",
            description=description,
            categories=(side,),
            capabilities=("allow", "block", "classify", *(("moderate",) if moderates else ())),
            tags=("ratchet", "classifier", "offline"),
        ),
        spec=RailSpec(
            actions=RailActions(refs=(action,)),
            surfaces=(
                RailSurface(
                    name=f"ratchet {scorer} {side}",
                    direction=direction,
                    action=action,
                    bindings=(
                        Binding.literal("scorer", scorer),
                        Binding.context("text", _TEXT[direction]),
                        Binding.surface_param("threshold", "threshold", required=False),
                    ),
                ),
            ),
        ),
    )
