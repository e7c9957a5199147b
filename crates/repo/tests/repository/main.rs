//! Repositories by the library.

mod bundle_threads;
mod damaged_bundle;
mod damages;
mod each_kind;
mod meanwhile;
mod open_image;
mod partial;
mod place;
mod without_objects;
