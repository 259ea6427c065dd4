"""The worker: claims jobs, calls upstreams, settles outcomes."""
