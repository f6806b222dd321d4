"""The texts: concepts, topics, passages and prompts, read from a folder and checked."""

from representations.corpus.corpus import Corpus, CorpusError, load_corpus

__all__ = ["Corpus", "CorpusError", "load_corpus"]
