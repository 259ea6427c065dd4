"""What both sides of the queue agree on: settings, errors, the chat schema, jobs, routing, the store."""
