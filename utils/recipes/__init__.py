"""How the networks in `data/checkpoints/` were trained; `python -m utils checkpoints` lists them, or trains some."""
