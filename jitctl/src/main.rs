#![forbid(unsafe_code)]
mod gate;
fn main() {}
