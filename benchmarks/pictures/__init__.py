"""The pictures of the documentation, drawn by code: `uv run python -m benchmarks.pictures` writes docs/pictures/."""
