"""The ``luckfox-sdk`` backend: images for real boards, built by the vendor's SDK in a container."""
