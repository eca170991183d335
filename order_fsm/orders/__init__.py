"""The service that changes and finds orders."""
