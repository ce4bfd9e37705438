"""How a container engine writes things down on disk."""
