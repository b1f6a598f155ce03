"""The REST front end: `create_app(gateway)`."""
