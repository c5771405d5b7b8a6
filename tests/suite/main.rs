//! One integration binary: each one links all of Burn.

mod conv;
mod convs;
mod embedding;
mod fold;
mod keras;
mod keras_tables;
mod kinds;
mod linear;
mod model;
mod record_kinds;
mod records;
mod source_tree;
mod swap;
mod training;
