"""The data in ``configs/``, typed and checked, and what follows from it for one variant."""
