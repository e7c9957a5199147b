//! Repositories by the library.

mod damages;
mod each_kind;
mod meanwhile;
mod open_image;
mod place;
mod without_objects;
