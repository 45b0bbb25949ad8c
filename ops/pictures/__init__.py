"""The pictures of docs/images, made from what really runs: `make pictures`."""
