"""The console: what an organisation's people do in a browser, served by their own node.

A FastAPI application of its own, rendered on the server, on a port of its own. Its pages call the
services that the API calls; no rule is decided in a page. Each noun of the domain has a folder with
``pages.py`` (routes), ``views.py`` (what a template shows) and ``templates/``.
"""
