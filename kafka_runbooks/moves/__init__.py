"""Carrying out a plan of moves: what starts next (window, admission), its invariants, progress, drift and what-ifs. Pure."""
