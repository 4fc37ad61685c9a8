"""Lepton: a support desk and a market monitor that learn from their own conversations.

The map
-------
``lepton_app``            the Django project: settings, ASGI, Celery, checks, health, the one command
``lepton_app.lib``        the leaf that everybody may import: artifacts, text runtime, hot swap, live frames
``lepton_app.learning``   label -> dataset -> train -> evaluate -> gate -> deploy -> roll back, for every classifier
``lepton_app.chat``       conversations, delivery, replies, the customer's widget
``intents``               the intent catalogue, the classifier's face, routing (answer / clarify / human)
``retrieval``             knowledge base, chunking, FAISS + lexical index, answers with citations
``monitoring``            feeds, the stream worker, the analysts' dashboard

The three flows
---------------
1. A chat message: widget -> consumer -> stored -> ``chat.replies`` (classify, route, answer) -> stored with its
   lineage -> frames to every tab. One process, no queue.
2. A news item: feed, API or replay -> Redis Stream -> ``stream`` worker -> one transaction per batch -> acknowledged
   after commit -> the dashboard.
3. A label becomes a model: annotation -> snapshot -> the training worker -> artifact -> gate -> *Deploy* moves one
   mark -> serving processes swap within seconds.
"""
