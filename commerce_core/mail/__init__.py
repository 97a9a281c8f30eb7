"""The mail room: an outbox in the database, templates, and the transports that carry what is in it.

`queue_mail` writes a row in the caller's transaction, so that no mail speaks of something that did not happen. The
scheduler delivers; nobody talks to a mail server within a request.
"""
