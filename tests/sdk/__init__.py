"""Tests of the container engine layer and of the Luckfox SDK backend."""
