"""The vendor's own scripts, from a fork of its SDK that SDK_FORK_DIR names."""
