"""The page behind incident links: what is wrong, what the runbook would do, one button, and the run's progress afterwards.

It reaches Temporal and nothing else: what it shows of a cluster a worker has looked up. A link alone never acts, nor does
a GET: who presses is told by a trusted proxy or by OIDC, and each press is a form that only this page can have made.
"""
