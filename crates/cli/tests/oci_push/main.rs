//! `composefs oci export` and `oci push`: the same manifest where the blobs can be given, refusals that write nothing,
//! and other programs that read what was written.

mod exports;
mod place;
mod registries;
