"""What the market says: news items and posts stream in and are shown to analysts.

``models``     the items
``stream``     items enter through a Redis Stream and are stored once, whatever happens to the worker
``views``      the dashboard
``admin``      the staff's face
"""
