"""The paper and the explorer: their pages, the words they say, and the light renderer."""
