"""What a build tells its user."""

from __future__ import annotations

from dataclasses import dataclass, field

from maskrt.artefact import ArtefactHead


@dataclass
class BuildReport:
    """What was built."""

    head: ArtefactHead
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each stage, or of the one plan."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each stage's build."""
    notes: list[str] = field(default_factory=list)
    """What the passes did that a user should know."""
