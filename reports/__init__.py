"""The paper and the explorer: their pages, their sentences, and a light renderer."""
