"""From a variant to its image and its papers."""
