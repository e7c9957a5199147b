//! Remotes on servers: the stores of the crate for delivery, by web servers, S3, registries and other machines.

mod body;
mod failure;
mod http_files;
mod netrc;
mod registry;
mod s3;
mod server_name;
mod web;

pub use registry::RegistryStore;
pub use s3::{S3Environment, S3Store};
pub use server_name::server_name;
pub use web::WebStore;
