"""From a problem to replica sets.

`solve` runs the phases in order: `retention` (what stays), `construction` (where missing replicas go), and to balance
`rack_moves`, `bulk_moves` and `local_search`. All change one `State`.
"""
