//! Reading images: what is refused and why, and trees of odd shapes.

mod cfsctl;
mod forge;
mod refusals;
mod shapes;
mod view;
