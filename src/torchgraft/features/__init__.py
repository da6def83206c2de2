"""Features: computed once per sample and backbone, kept on disk, mapped to what a head can use."""
