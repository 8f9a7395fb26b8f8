"""Build, boot and benchmark an SD image for Luckfox Pico boards; see docs/architecture.md."""
