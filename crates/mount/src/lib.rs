//! Mounting a composefs image: options to a plan, the plan to the kernel.
