"""The paper's tables and figures, regenerated: the commands that make them, and what they made."""
