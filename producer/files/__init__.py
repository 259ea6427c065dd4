"""Files: what clients upload and what batches answer, kept as blobs in a folder that may be anywhere."""
