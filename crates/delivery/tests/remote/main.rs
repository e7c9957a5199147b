//! Images go to a remote in a directory and come back, whatever fails in between.

mod cuts;
mod faulty_store;
mod hostile;
mod interleaved;
mod lazy;
mod pair;
mod round_trip;
