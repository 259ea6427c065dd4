"""The only place that knows Redis: connections, keys, scripts, and what is stored."""
