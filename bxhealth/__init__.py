"""bxhealth: the truth about every node of a multi-node buildx builder."""

__version__ = "0.1.0"
