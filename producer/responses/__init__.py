"""OpenAI's Responses API in terms of chat jobs.

Requests, answers and stream events are made without any I/O; only `book.py` and `keeper.py` look into the store.
"""
