"""Helpers of the tests of app/."""
