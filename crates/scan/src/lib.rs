//! A directory tree, read in parallel into the tree model.
