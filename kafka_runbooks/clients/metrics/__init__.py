"""Brokers' traffic and request times, from whichever backend a cluster's entry in the clusters file names.

One module per backend, behind `protocols.BrokerMetrics`; `report` holds the rule by which all of them judge what they find, and
`settings` what an operator writes. A backend's library is imported when a cluster that uses it is opened.
"""
