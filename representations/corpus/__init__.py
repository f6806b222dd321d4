"""Read a corpus from a folder and check it: concepts, topics, passages and prompts."""

from representations.corpus.corpus import Corpus, CorpusError, load_corpus

__all__ = ["Corpus", "CorpusError", "load_corpus"]
