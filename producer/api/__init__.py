"""The HTTP API: OpenAI's wire, and chatq's own jobs, over the producer. One module a resource."""
