"""Support chat: what a customer says is stored, answered and delivered.

``models``     sites, conversations, messages and the lineage of each reply
``tokens``     the signed, expiring token of a visitor
``protocol``   the frames of the websocket, as typed dicts, and the codes of refusals
``delivery``   store a message once, number it, tell every tab
``replies``    the one meeting place: classify, route, answer, ask or hand over
``handover``   a human takes over and gives back
``consumers``  the websocket: parses, calls, sends
``views``      the widget's script and settings, the demo page
``admin``      the staff's face
"""
