"""JSON Schemas of bodies and answers, one module a resource (OpenAPI 3.1 components)."""
