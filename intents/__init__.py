"""What customers want: the intent catalogue, the classifier's face, and the decision who answers.

``models``      intents with their replies in every language
``catalogue``   read the catalogue for replying, cached per process until it changes
``classifier``  the deployed intent classifier at work, with its encoder
``routing``     answer, clarify, or a human: a pure decision over scores
``starter``     load the intents of the fictional bank
``admin``       the staff's face
"""
