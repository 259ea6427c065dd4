"""The batcher: runs the batches of the HTTP API, several at a time, each from wherever it was left."""
