"""The leaf package: imports nothing of ours, and everybody may import it.

``env``             strict readers of environment variables
``artifacts``       directories that are published by rename and verified by sha256
``text_runtime``    texts -> unit rows, with ONNX Runtime on its own threads
``encoder_export``  a sentence encoder -> ONNX fp32 and int8, parity checked (the only module here that loads torch)
``languages``       which of our languages a text is in
``ngrams``          the character n-grams of a text
``redaction``       a text without e-mail addresses, telephone, card and account numbers
``deployed``        hold an object, notice that another one is deployed, swap without a gap
``live``            send a frame to a channel group once the transaction has committed
``nudges``          tell a worker that a row waits, once the transaction has committed
"""
