"""The knowledge base: articles in, answers with citations out.

Pure modules
    ``markdown``   source -> safe HTML, and source -> blocks that know their character span
    ``sentences``  text -> sentence spans, English and Chinese
    ``chunking``   article -> passages that know their section and span
    ``lexical``    tokens and BM25 over passages
    ``vectors``    FAISS over the passages' and headings' embeddings
    ``fusion``     one score of the two arms, weighted by what each is worth for this query
    ``answering``  question + passages -> the article's own sentences, each with a verified citation, or a refusal
Operations
    ``indexing``   articles -> an index artifact that is marked live
    ``search``     the index of one process: question -> hits, filters inside
    ``serving``    which index is live in this process; ``answer_question``
    ``publishing`` save, publish and unpublish an article
    ``starter``    load the starter articles into an empty table
Entry points
    ``admin``, ``views``, ``urls``, ``tasks``

Flow: an article is saved -> an ``IndexBuild`` row is queued and the worker nudged -> passages are cut, the new ones
encoded, an artifact published, the mark moved -> serving processes notice within two seconds.
"""
