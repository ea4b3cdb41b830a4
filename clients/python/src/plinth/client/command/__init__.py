"""The command line of who calls a Plinth: `plinth call`, `plinth tail`, `plinth login` and their like.

With the package of the client alone it is `python -m plinth.client`.
"""
