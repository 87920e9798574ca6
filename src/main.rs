//! The `lrs` program: parse the command line, then hand over.

fn main() {}
