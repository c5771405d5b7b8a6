//! One integration binary: each one links all of Burn.

mod conv;
mod convs;
mod embedding;
mod keras;
mod linear;
mod model;
mod records;
mod source_tree;
mod swap;
mod training;
