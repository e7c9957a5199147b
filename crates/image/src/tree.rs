//! The tree model.
