"""The OpenAPI document, built from the operations that the API declares."""
